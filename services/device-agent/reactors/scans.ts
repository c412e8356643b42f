/**
 * Scans, carried out: by mDNS and address by address at the same time. What is found is told as it is found, so that a scan that is cut
 * off has told what it had; begun again, it finds the same, of which nothing is said a second time.
 */
import { createHash } from "node:crypto";
import type { Finding } from "@millrace/contracts/devices/scans.ts";
import { makeId } from "@millrace/contracts/ids.ts";
import { device } from "@millrace/domain/devices/device.ts";
import { macClaim } from "@millrace/domain/devices/device-decide.ts";
import { identityOf, isNoDevice } from "@millrace/domain/devices/model/identity.ts";
import {
  inputOf,
  nextOfScan,
  plainNameOf,
  rangeOf,
  type ScanCommand,
  type ScanState,
  type ScanStep,
  scan,
} from "@millrace/domain/devices/scan.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { execute, ownContext, readClaim } from "@millrace/eventlog/execute.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { Reactor, Verdict, Work } from "@millrace/eventlog/worker.ts";
import { DeviceFailure, printable } from "../adapters/shelly/failures.ts";
import { Gate } from "../adapters/shelly/gate.ts";
import { type BrowseOptions, browse } from "../adapters/shelly/mdns.ts";
import { type Found, lookAt, scan as scanRanges } from "../adapters/shelly/scan.ts";
import { addressOf } from "../observed.ts";

export interface ScansOptions {
  readonly log: EventLog;
  readonly site: string;
  /** Of multicast; left out: as the system has it. */
  readonly socket?: BrowseOptions["socket"];
  /** Who is found where, for those that are known already. */
  readonly onFound: (found: Found) => void;
}

type ScanWork = Work<ScanState, ScanCommand>;

const AT_ONCE = 128;
const LOOK_MS = 1_500;
/** Findings are told together: so often, and so many in one event. */
const TELL_MS = 500;
const TOLD_AT_ONCE = 100;
/** Characters of what a device says of itself. */
const MOST = 100;

export function scanReactor(options: ScansOptions): Reactor<ScanState, ScanCommand, ScanStep> {
  return {
    kind: scan,
    mine: ({ spec }) => spec?.site === options.site,
    next: nextOfScan,
    interrupts: (state) => nextOfScan(state) === undefined,
    perform: (step, work) => (step.kind === "giveUp" ? giveUp(work) : new Looking(options, work, step.attempt).all()),
  };
}

async function giveUp(work: ScanWork): Promise<Verdict> {
  const { attempt } = work.loaded.state;
  await work.record({
    do: "fail",
    attempt,
    code: "GIVEN_UP",
    message: `It did not come to an end in ${attempt} attempts.`,
    fix: "Look at the agent's log, then start another with fewer addresses.",
  });
  return { again: true };
}

class Looking {
  readonly #options: ScansOptions;
  readonly #work: ScanWork;
  readonly #attempt: number;
  readonly #gate = new Gate(AT_ONCE);
  readonly #macs = new Set<string>();
  readonly #waiting: Finding[] = [];
  #probed = 0;

  constructor(options: ScansOptions, work: ScanWork, attempt: number) {
    this.#options = options;
    this.#work = work;
    this.#attempt = attempt;
  }

  async all(): Promise<Verdict> {
    const work = this.#work;
    const { spec } = work.loaded.state;
    await work.record({ do: "start", attempt: this.#attempt, worker: work.worker });
    faultPoint("scan.before");
    const looking = new AbortController();
    const signal = AbortSignal.any([work.signal, looking.signal]);
    try {
      const looks = [this.#ranges(spec!.ranges, signal), ...(spec!.mdns ? [this.#mdns(signal)] : [])];
      await work.aside(() => this.#telling(Promise.all(looks)));
    } catch (error) {
      if (!(error instanceof NoMulticast)) throw error;
      const { message } = error;
      const fix = "Give ranges of addresses, or see whether this machine may use multicast.";
      await work.record({ do: "fail", attempt: this.#attempt, code: "NO_MULTICAST", message, fix });
      return { again: true };
    } finally {
      looking.abort();
    }
    work.signal.throwIfAborted();
    faultPoint("scan.complete.before");
    await work.record({ do: "complete", attempt: this.#attempt, worker: work.worker, probed: this.#probed });
    faultPoint("scan.complete.recorded");
    return { again: true };
  }

  async #ranges(ranges: ReadonlyArray<string>, signal: AbortSignal): Promise<void> {
    if (ranges.length === 0) return;
    await scanRanges({
      ranges: ranges.map((text) => rangeOf(text)!),
      gate: this.#gate,
      timeoutMs: LOOK_MS,
      atOnce: AT_ONCE,
      signal,
      onFound: (found) => this.#found(found, "range"),
      onProgress: (done) => (this.#probed = done),
    });
  }

  /** Whoever answers is looked at: a name is no proof. */
  async #mdns(signal: AbortSignal): Promise<void> {
    const looks: Promise<void>[] = [];
    const { socket } = this.#options;
    const look = async (host: string, port: number) => {
      try {
        const at = { host, scheme: "http", ...(port === 80 ? {} : { port }) } as const;
        if (!signal.aborted) this.#found(await lookAt(at, this.#gate, LOOK_MS * 2), "mdns");
      } catch (error) {
        if (!(error instanceof DeviceFailure)) throw error;
      }
    };
    try {
      await browse({
        signal,
        ...(socket === undefined ? {} : { socket }),
        onSighting: ({ host, port }) => void looks.push(look(host, port)),
      });
    } catch (error) {
      throw new NoMulticast(`mDNS could not be asked: ${printable((error as Error).message).slice(0, 200)}.`);
    }
    await Promise.all(looks);
  }

  #found(found: Found, by: Finding["by"]): void {
    const known = identityOf({ shelly: found.identity.shelly });
    if (isNoDevice(known) || this.#macs.has(known.mac)) return;
    this.#macs.add(known.mac);
    this.#options.onFound(found);
    const said = (text: string) => printable(text).slice(0, MOST);
    this.#waiting.push({
      mac: known.mac,
      address: addressOf(found.address),
      gen: known.generation,
      model: said(known.model),
      hostname: said(known.id),
      ...(known.name === null || said(known.name) === "" ? {} : { name: said(known.name) }),
      firmware: { version: said(known.firmware.version), build: said(known.firmware.build) },
      authentication: known.authentication,
      by,
    });
  }

  /** Until all has been looked at, and once more. @throws what looking throws, and recording */
  async #telling(looks: Promise<unknown>): Promise<void> {
    let over = false;
    const ended = looks.finally(() => (over = true));
    // Waited for at last; a failure before that is no surprise.
    ended.catch(() => {});
    for (;;) {
      const last = over;
      while (this.#waiting.length > 0 && !this.#work.signal.aborted) await this.#tell();
      if (last) break;
      await Promise.race([ended.catch(() => {}), new Promise((resolve) => setTimeout(resolve, TELL_MS))]);
    }
    await ended;
  }

  async #tell(): Promise<void> {
    const findings = this.#waiting.splice(0, TOLD_AT_ONCE);
    const { worker } = this.#work;
    const { state } = await this.#work.record({ do: "found", attempt: this.#attempt, worker, findings });
    faultPoint("scan.found.recorded");
    if (state.spec!.adopt) for (const finding of findings) await this.#adopt(state, finding);
  }

  /** Its id is made of the scan and the MAC, and a MAC is claimed once: a second try finds it done. */
  async #adopt(state: ScanState, finding: Finding): Promise<void> {
    const { log } = this.#options;
    const { organisation, id: of } = this.#work;
    const { holder } = await readClaim(log, device.context, macClaim(organisation, finding.mac));
    if (holder !== null) return;
    const entropy = createHash("sha256").update(`${of}/${finding.mac}`).digest();
    const id = makeId(device.prefix, Date.parse(state.createdAt), entropy);
    const spec = inputOf(state, finding);
    // Somebody else may have its name.
    for (const name of new Set([spec.name, plainNameOf(finding.mac)])) {
      const change = { kind: device, id, command: { do: "add" as const, spec: { ...spec, name } } };
      faultPoint("scan.adopt.before");
      const outcome = await execute(log, change, ownContext("device-agent", organisation));
      faultPoint("scan.adopt.after");
      if ("ok" in outcome) return;
      this.#work.log.warn({ mac: finding.mac, refusal: outcome.refusal }, "what was found could not be taken in");
      if (outcome.refusal.refused !== "conflict") return;
    }
  }
}

class NoMulticast extends Error {}
