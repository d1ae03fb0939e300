/** Cornerstone3D, started once for the page, and the tools the hub offers. */

import * as core from "@cornerstonejs/core";
import dicomImageLoader from "@cornerstonejs/dicom-image-loader";
import * as tools from "@cornerstonejs/tools";
import type { DisplaySet, ImageInfo, Vector } from "./metadata";

export type ToolKey = "scroll" | "window" | "zoom" | "pan" | "length";
export type LengthLabel = (image: ImageInfo, from: Vector, to: Vector) => string;

const TOOL_NAMES: Record<ToolKey, string> = {
  scroll: tools.StackScrollTool.toolName,
  window: tools.WindowLevelTool.toolName,
  zoom: tools.ZoomTool.toolName,
  pan: tools.PanTool.toolName,
  length: tools.LengthTool.toolName,
};
const { MouseBindings } = tools.Enums;
/** What each tool keeps besides the left button. */
const OWN_BINDINGS: Record<ToolKey, number[]> = {
  scroll: [MouseBindings.Wheel],
  window: [],
  zoom: [MouseBindings.Secondary],
  pan: [MouseBindings.Auxiliary],
  length: [],
};

let started = false;
let serial = 0;
const known = new Map<string, ImageInfo>();

function start(): void {
  if (started) return;
  started = true;
  core.init();
  dicomImageLoader.init({ maxWebWorkers: 2 });
  tools.init();
  for (const tool of [tools.StackScrollTool, tools.WindowLevelTool, tools.ZoomTool, tools.PanTool, tools.LengthTool]) tools.addTool(tool);
}

/** One rendering engine with one group of tools: a viewer on the page. */
export class Engine {
  readonly rendering: core.RenderingEngine;
  private readonly group: tools.Types.IToolGroup;
  private primary: ToolKey = "window";

  constructor(label: LengthLabel) {
    start();
    serial += 1;
    this.rendering = new core.RenderingEngine(`hub-viewer-${serial}`);
    const group = tools.ToolGroupManager.createToolGroup(`hub-tools-${serial}`);
    if (!group) throw new Error("tool group exists");
    this.group = group;
    for (const name of Object.values(TOOL_NAMES)) {
      if (name === TOOL_NAMES.length) this.group.addTool(name, { getTextLines: (data: LengthData, target: string) => lengthLines(data, target, label) });
      else this.group.addTool(name);
    }
    this.choose("window");
  }

  get onCpu(): boolean {
    return core.getShouldUseCPURendering();
  }

  get chosen(): ToolKey {
    return this.primary;
  }

  /** Put `tool` on the left mouse button; wheel, right and middle button keep scroll, zoom and pan. */
  choose(tool: ToolKey): void {
    this.primary = tool;
    for (const key of Object.keys(TOOL_NAMES) as ToolKey[]) {
      const buttons = [...OWN_BINDINGS[key], ...(key === tool ? [MouseBindings.Primary] : [])];
      if (buttons.length > 0) this.group.setToolActive(TOOL_NAMES[key], { bindings: buttons.map((mouseButton) => ({ mouseButton })) });
      else this.group.setToolPassive(TOOL_NAMES[key]);
    }
  }

  /** Make a stack viewport of `element`. */
  open(viewportId: string, element: HTMLDivElement): core.Types.IStackViewport {
    this.rendering.enableElement({ viewportId, element, type: core.Enums.ViewportType.STACK });
    this.group.addViewport(viewportId, this.rendering.id);
    return this.rendering.getViewport(viewportId) as core.Types.IStackViewport;
  }

  close(viewportId: string): void {
    this.group.removeViewports(this.rendering.id, viewportId);
    this.rendering.disableElement(viewportId);
  }

  clearMeasurements(): void {
    tools.annotation.state.removeAllAnnotations();
    this.rendering.render();
  }

  destroy(): void {
    tools.ToolGroupManager.destroyToolGroup(this.group.id);
    this.rendering.destroy();
  }
}

interface LengthData {
  handles: { points: Vector[] };
}

function lengthLines(data: LengthData, target: string, label: LengthLabel): string[] {
  const image = known.get(target.replace(/^imageId:/, ""));
  const [from, to] = data.handles.points;
  return image && from && to ? [label(image, from, to)] : [];
}

/** Give the renderer the metadata of a stack before it is shown. */
export function introduce(set: DisplaySet): void {
  for (const image of set.images) {
    known.set(image.imageId, image);
    dicomImageLoader.wadors.metaDataManager.add(image.imageId, image.dataset as never);
  }
}
