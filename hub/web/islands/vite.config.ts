import { defineConfig } from "vite";

// Entries keep their names, because templates name them; everything they load carries a hash.
export default defineConfig({
  base: "./",
  publicDir: false,
  build: {
    outDir: "../static/dist",
    emptyOutDir: true,
    target: "es2022",
    chunkSizeWarningLimit: 4000,
    modulePreload: false,
    assetsInlineLimit: 0,
    rolldownOptions: {
      input: { app: "app.ts", "image-viewer": "image-viewer/island.ts" },
      output: {
        entryFileNames: "[name].js",
        chunkFileNames: "assets/[name]-[hash].js",
        assetFileNames: "assets/[name]-[hash][extname]",
      },
    },
  },
  worker: { format: "es" },
});
