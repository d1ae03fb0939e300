/** Loaded on every page: htmx with the hub's rules, and the small behaviours by name. */

import "htmx.org";
import "htmx-ext-sse";
import { mountAutosave } from "./autosave";
import { mountConfirm } from "./confirm-dialog";
import { mountDropzone } from "./dropzone";
import { installForms } from "./forms";
import { installLanguageSwitch } from "./language";
import { mountLease } from "./lease";
import { installHtmxRules, processWithHtmx } from "./live";
import { mountClock } from "./live-clock";
import { mountLiveRows } from "./live-rows";
import { register, registerLater } from "./registry";
import { mountShortcuts } from "./shortcuts";
import { mountStatementPicker } from "./statement-picker";
import { mountToasts } from "./toast";

installHtmxRules();
installForms(processWithHtmx);
installLanguageSwitch();
register("toast", mountToasts);
register("confirm-dialog", mountConfirm);
register("shortcuts", mountShortcuts);
register("live-clock", mountClock);
register("live-rows", mountLiveRows);
register("autosave", mountAutosave);
register("dropzone", mountDropzone);
register("lease", mountLease);
register("statement-picker", mountStatementPicker);
registerLater("ecg-viewer", async () => (await import("./ecg-viewer/island")).mountEcgViewer);
