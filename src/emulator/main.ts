// The command `npm run emulator`: its options, its output and its end. Tests and other code use
// `startEmulator` of listen.ts.
import { parseArgs } from "node:util";
import { startOnFreePort } from "./free-port.ts";
import { type RunningEmulator, startEmulator } from "./listen.ts";

const PORT_DEFAULT = "8790";

const TOKEN = "demo-token";
const WORKSPACE = 42;
const AGENT = "demo-agent";
const CHAT = "demo-chat";

function start(port: number): Promise<RunningEmulator> {
  return startEmulator({
    port,
    tokens: { [TOKEN]: [WORKSPACE] },
    agents: { [WORKSPACE]: [AGENT] },
    chats: [{ chatId: CHAT, workspaceId: WORKSPACE, agentId: AGENT }],
  });
}

function describe(url: string): string {
  const json = "-H 'content-type: application/json'";
  const message = JSON.stringify({ workspaceId: WORKSPACE, content: "Hello" });
  const fault = JSON.stringify({
    fault: { kind: "status", status: 503, retryAfter: "1" },
    times: 2,
    operation: "completion",
  });
  return `UponAI emulator: ${url}
  token      ${TOKEN}
  workspace  ${WORKSPACE}
  agent      ${AGENT}
  chat       ${CHAT}

Send a message:
  curl -sS ${url}/api/chats/${CHAT}/completions -H 'authorization: Bearer ${TOKEN}' ${json} -d '${message}'
Let the next two messages fail:
  curl -sS ${url}/emulator/faults ${json} -d '${fault}'
See how often each message arrived and was taken:
  curl -sS '${url}/emulator/messages?chatId=${CHAT}'

Ctrl-C ends it.`;
}

/** Prints one line and ends the command. A stack trace does not help after a mistyped option. */
function fail(message: string): never {
  console.error(message);
  process.exit(2);
}

function readPort(): number {
  let given: string | undefined;
  try {
    given = parseArgs({ options: { port: { type: "string" } } }).values.port;
  } catch (error) {
    fail(error instanceof Error ? error.message : "unknown option");
  }
  const text = given ?? process.env["EMULATOR_PORT"] ?? PORT_DEFAULT;
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65_535) fail(`The port must be 0 to 65535, not "${text}".`);
  return port;
}

const emulator = await startOnFreePort(readPort(), start).catch((error: unknown) =>
  fail(`The emulator cannot listen: ${error instanceof Error ? error.message : "unknown error"}.`),
);
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  // After the close nothing is left to run, so the process ends with code 0.
  // `on` and not `once`: under npm a Ctrl-C can arrive twice, from the terminal and from npm.
  process.on(signal, () => void emulator.close());
}
// Printed last: a script that waits for these lines can then end the command by a signal.
console.log(describe(emulator.url));
