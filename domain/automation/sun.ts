/**
 * Sunrise and sunset, after Meeus as NOAA's solar calculator has it: the upper edge of the sun at the horizon, with refraction
 * (zenith 90.833°). Within a minute or so of almanacs below 66° of latitude; near the poles the sun moves along the horizon, and so does the error.
 */
const DAY = 86_400_000;
const ZENITH = 90.833;
const rad = (degrees: number): number => (degrees * Math.PI) / 180;
const deg = (radians: number): number => (radians * 180) / Math.PI;

export type SunEvent = "sunrise" | "sunset";

/** Declination of the sun in degrees, and the equation of time in minutes. @param instant milliseconds since 1970 */
function sunAt(instant: number): { readonly declination: number; readonly equation: number } {
  const t = (instant / DAY + 2_440_587.5 - 2_451_545) / 36_525;
  const longitude = (280.46646 + t * (36_000.76983 + t * 0.0003032)) % 360;
  const anomaly = 357.52911 + t * (35_999.05029 - 0.0001537 * t);
  const eccentricity = 0.016708634 - t * (0.000042037 + 0.0000001267 * t);
  const centre =
    Math.sin(rad(anomaly)) * (1.914602 - t * (0.004817 + 0.000014 * t)) +
    Math.sin(rad(2 * anomaly)) * (0.019993 - 0.000101 * t) +
    Math.sin(rad(3 * anomaly)) * 0.000289;
  const node = 125.04 - 1_934.136 * t;
  const apparent = longitude + centre - 0.00569 - 0.00478 * Math.sin(rad(node));
  const mean = 23 + (26 + (21.448 - t * (46.815 + t * (0.00059 - t * 0.001813))) / 60) / 60;
  const obliquity = mean + 0.00256 * Math.cos(rad(node));
  const declination = deg(Math.asin(Math.sin(rad(obliquity)) * Math.sin(rad(apparent))));
  const y = Math.tan(rad(obliquity / 2)) ** 2;
  const equation =
    4 *
    deg(
      y * Math.sin(2 * rad(longitude)) -
        2 * eccentricity * Math.sin(rad(anomaly)) +
        4 * eccentricity * y * Math.sin(rad(anomaly)) * Math.cos(2 * rad(longitude)) -
        0.5 * y * y * Math.sin(4 * rad(longitude)) -
        1.25 * eccentricity * eccentricity * Math.sin(2 * rad(anomaly)),
    );
  return { declination, equation };
}

/**
 * When the sun rises or sets at a place, on the day whose noon by the sun is nearest to this moment.
 * @param latitude degrees, north positive
 * @param longitude degrees, east positive
 * @param noon milliseconds since 1970
 * @returns undefined where it does not that day: polar day or night
 */
export function sunTime(event: SunEvent, latitude: number, longitude: number, noon: number): number | undefined {
  const midday = Math.round((noon + longitude * 240_000) / DAY - 0.5) * DAY + DAY / 2 - longitude * 240_000;
  let instant = midday;
  // The sun goes on while it rises: the second round is within a second.
  for (let round = 0; round < 3; round++) {
    const { declination, equation } = sunAt(instant);
    const cosine =
      Math.cos(rad(ZENITH)) / (Math.cos(rad(latitude)) * Math.cos(rad(declination))) -
      Math.tan(rad(latitude)) * Math.tan(rad(declination));
    if (!(cosine >= -1 && cosine <= 1)) return undefined;
    const angle = deg(Math.acos(cosine));
    const minutes = (event === "sunrise" ? -angle : angle) * 4 - equation;
    instant = midday + minutes * 60_000;
  }
  return Math.round(instant / 1_000) * 1_000;
}
