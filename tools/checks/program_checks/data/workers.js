// Four worker threads that build, share and send buffers, and one Map each.
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");
const { createHash } = require("crypto");
const { deflateSync, inflateSync } = require("zlib");

if (isMainThread) {
  const shared = new SharedArrayBuffer(4);
  const answers = [];
  for (let id = 0; id < 4; ++id) {
    const worker = new Worker(__filename, { workerData: { id, shared } });
    worker.on("message", (text) => { answers[id] = text; });
    worker.on("exit", (code) => { if (code) process.exitCode = code; });
  }
  process.on("exit", () => {
    console.log(answers.join("\n"));
    console.log("shared", new Int32Array(shared)[0]);
  });
} else {
  const { id, shared } = workerData;
  const map = new Map();
  const hash = createHash("sha256");
  for (let i = 0; i < 3000; ++i) {
    const data = Buffer.alloc(1 + (i * 37) % 5000, `${id}-${i}`);
    const back = inflateSync(deflateSync(data));
    if (!back.equals(data)) throw new Error("zlib changed the data");
    hash.update(back);
    map.set(i % 500, back);
    Atomics.add(new Int32Array(shared), 0, 1);
  }
  parentPort.postMessage(`${id} ${map.size} ${hash.digest("hex")}`);
}
