/** All views that exist. */
import { applicationsViews } from "./applications/views.ts";
import { automationViews } from "./automation/views.ts";
import { devicesViews } from "./devices/views.ts";
import { identityViews } from "./identity/views.ts";
import { integrationsViews } from "./integrations/views.ts";
import { publishingViews } from "./publishing/views.ts";
import type { View } from "./view.ts";
import { workViews } from "./work/views.ts";

export const VIEWS: ReadonlyArray<View> = [
  ...identityViews,
  ...workViews,
  ...applicationsViews,
  ...integrationsViews,
  ...automationViews,
  ...devicesViews,
  ...publishingViews,
];
