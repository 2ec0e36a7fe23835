// The worker that decodes and draws, so that the page itself is never busy with it.

import { Canvases } from "./canvas.js";

const canvases = new Canvases();

self.addEventListener("message", async ({ data }) => {
  switch (data.type) {
    case "add":
      canvases.add(data.id, data.canvas);
      break;
    case "remove":
      canvases.remove(data.id);
      break;
    case "draw":
      self.postMessage({ call: data.call, answer: await canvases.draw(data.id, data.buffer, data.start) });
      break;
    case "shown":
      self.postMessage({ call: data.call, answer: canvases.shown(data.id) });
      break;
  }
});
