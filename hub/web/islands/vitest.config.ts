import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    environment: "jsdom",
    include: ["**/*.test.ts"],
    exclude: ["node_modules/**"],
    isolate: false, // one document for all files: making it takes ten times as long as the tests
  },
});
