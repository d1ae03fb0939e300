import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { added, found, mountStatementPicker, type Group } from "./statement-picker";

const GROUPS: Group[] = [
  { code: "sinus", zh: "窦性", en: "Sinus", statements: [{ code: "sinus_rhythm", zh: "窦性心律", en: "Sinus rhythm", positive: false, keys: "douxingxinlyu dxxl" }] },
  {
    code: "af",
    zh: "房性",
    en: "Atrial",
    statements: [
      { code: "af_rapid", zh: "心房颤动伴快速心室率", en: "Atrial fibrillation with rapid ventricular response", positive: true, keys: "xinfangchandongbankuaisuxinshilyu xfcdbksxsl" },
      { code: "af", zh: "心房颤动", en: "Atrial fibrillation", positive: true, keys: "xinfangchandong xfcd" },
    ],
  },
];

describe("finding statements", () => {
  it.each([
    ["颤房", []],
    ["房 颤", ["af_rapid", "af"]],
    ["xfcd", ["af_rapid", "af"]],
    ["fibrill rapid", ["af_rapid"]],
    ["SINUS", ["sinus_rhythm"]],
    ["dxx", ["sinus_rhythm"]],
    ["", ["sinus_rhythm", "af_rapid", "af"]],
  ])("%s", (query, codes) => {
    expect(found(GROUPS, query).map((each) => each.code)).toEqual(codes);
  });
});

describe("adding a statement", () => {
  it.each([
    ["", "窦性心律", "窦性心律"],
    ["窦性心律", "心房颤动", "窦性心律\n心房颤动"],
    ["窦性心律\n", "心房颤动", "窦性心律\n心房颤动"],
    ["心房颤动\n其他", "心房颤动", "心房颤动\n其他"],
  ])("%j and %s", (text, statement, whole) => {
    expect(added(text, statement)).toBe(whole);
  });
});

describe("the picker", () => {
  beforeEach(() => {
    document.body.innerHTML = `<form><textarea name="impression"></textarea>
      <input type="radio" name="positive" value="no"><input type="radio" name="positive" value="yes">
      <div id="p" data-url="/s" data-writes="zh"><script type="application/json" data-island-text>{"language_zh":"中","language_en":"EN","none":"-","failed":"!"}</script>
      <input type="search"><button type="button" data-switch></button><div role="listbox" hidden></div></div></form>`;
    vi.stubGlobal("fetch", vi.fn(async () => new Response(JSON.stringify(GROUPS))));
  });
  afterEach(() => void vi.unstubAllGlobals());

  const open = async (): Promise<HTMLInputElement> => {
    mountStatementPicker(document.querySelector<HTMLElement>("#p")!);
    const search = document.querySelector<HTMLInputElement>("input[type=search]")!;
    search.dispatchEvent(new Event("focus"));
    await vi.waitFor(() => expect(document.querySelectorAll("[role=option]").length).toBe(3));
    return search;
  };
  const press = (search: HTMLInputElement, key: string): boolean => search.dispatchEvent(new KeyboardEvent("keydown", { key, cancelable: true }));
  const text = (): string => document.querySelector<HTMLTextAreaElement>("textarea")!.value;

  it("picks by keyboard and marks an open choice as positive", async () => {
    const search = await open();
    search.value = "xfcd";
    search.dispatchEvent(new Event("input"));
    press(search, "ArrowDown");
    press(search, "Enter");
    expect(text()).toBe("心房颤动");
    expect(document.querySelector<HTMLInputElement>("[value=yes]")!.checked).toBe(true);
  });

  it("leaves a choice of the reader's own alone", async () => {
    const search = await open();
    document.querySelector<HTMLInputElement>("[value=no]")!.checked = true;
    search.value = "af";
    search.dispatchEvent(new Event("input"));
    press(search, "Enter");
    expect(document.querySelector<HTMLInputElement>("[value=no]")!.checked).toBe(true);
  });

  it("writes English when asked to", async () => {
    const search = await open();
    document.querySelector<HTMLButtonElement>("button[data-switch]")!.click();
    press(search, "Enter");
    expect(text()).toBe("Sinus rhythm");
  });

  it("says that the list could not be loaded", async () => {
    vi.stubGlobal("fetch", vi.fn(async () => new Response("", { status: 500 })));
    mountStatementPicker(document.querySelector<HTMLElement>("#p")!);
    document.querySelector("input[type=search]")!.dispatchEvent(new Event("focus"));
    await vi.waitFor(() => expect(document.querySelector("[role=listbox]")!.textContent).toBe("!"));
  });
});
