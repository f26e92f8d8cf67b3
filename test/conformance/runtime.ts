/**
 * The runtime interface of the contract suite: a service that answers over HTTP, with the emulator
 * behind it. The suite uses nothing else of the service.
 */
import { type RunningEmulator, startEmulator } from "../../src/emulator/listen.ts";
import { expectNoCanary } from "../support/canary.ts";
import { mintToken, sessionEnvironment } from "../support/session-tokens.ts";

export interface RunningService {
  readonly url: string;
  /** All lines of its log so far, unparsed. */
  lines(): readonly string[];
  stop(): Promise<unknown>;
}

export interface Runtime {
  start(environment: Record<string, string>): Promise<RunningService>;
  /**
   * Headers that tell this runtime the client's address, as a proxy or Cloudflare in front would.
   */
  addressHeaders(address: string): Record<string, string>;
  /** True if the runtime can tell that a request to UponAI was not sent; see docs/workers.md. */
  readonly tellsUnsent: boolean;
  /** True if the runtime skips an unrequested interim answer 100. */
  readonly skipsContinue: boolean;
}

export const UPSTREAM_TOKEN = "upstream-canary-token";
export const ALLOWED_ORIGIN = "https://www.example.com";
export const COOKIE_NAME = "__Host-uponai_session";
/**
 * Workspaces by claim: `acme` with the defaults, `tight` with low limits, `staffed` with an agent.
 */
export const ACME = 42;
export const TIGHT = 43;
export const STAFFED = 44;

export interface Fixture {
  readonly emulator: RunningEmulator;
  readonly service: RunningService;
  /** Sends one request, as a new client with its own address. */
  readonly ask: (path: string, options?: Ask) => Promise<Response>;
  /** Sends a message with a token of `sub`, unless the headers have another credential. */
  readonly send: (options?: Send) => Promise<Response>;
  /** Creates a new chat of a workspace in the emulator. */
  readonly createChat: (workspaceId?: number) => string;
  stop(): Promise<void>;
}

export interface Ask {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: NonNullable<RequestInit["body"]>;
  readonly address?: string;
  readonly signal?: AbortSignal;
}

export interface Send extends Omit<Ask, "method"> {
  readonly sub?: string;
  readonly claims?: Record<string, unknown>;
  readonly chatId?: string;
  readonly content?: string;
}

export async function startFixture(
  runtime: Runtime,
  environment: Record<string, string> = {},
): Promise<Fixture> {
  const emulator = await startEmulator({ tokens: { [UPSTREAM_TOKEN]: [ACME, TIGHT, STAFFED] } });
  const cookieKey = crypto.getRandomValues(new Uint8Array(32));
  const service = await runtime.start({
    ...sessionEnvironment(),
    UPONAI_BASE_URL: emulator.url,
    UPONAI_API_TOKEN: UPSTREAM_TOKEN,
    WORKSPACES: JSON.stringify({
      acme: ACME,
      tight: { id: TIGHT, limits: { session: "2/1h", workspace: "off", replays: "2/1h" } },
      staffed: { id: STAFFED, agentId: "agent-1" },
    }),
    CHAT_VARIABLES: "language",
    CHAT_METADATA: "page",
    SESSION_VARIABLES: "plan=profile.plan",
    COOKIE_KEYS: Buffer.from(cookieKey).toString("base64url"),
    ALLOWED_ORIGINS: ALLOWED_ORIGIN,
    LIMIT_AUTH_FAILURES: "3/1h",
    STORED_ANSWER_BYTES: "4KiB",
    UPSTREAM_TIMEOUT: "2s",
    RECOVERY_WINDOW: "2s",
    ...environment,
  });
  let chats = 0;
  let clients = 0;

  const ask = async (path: string, { address, headers = {}, ...init }: Ask = {}) => {
    clients += 1;
    const from = address ?? `10.${clients >> 16}.${(clients >> 8) & 0xff}.${clients & 0xff}`;
    const answer = await fetch(`${service.url}${path}`, {
      redirect: "manual",
      // The platform's fetch requires this for a streamed body.
      duplex: "half",
      ...init,
      headers: { ...runtime.addressHeaders(from), ...headers },
    });
    expectNoCanary(`${JSON.stringify([...answer.headers])} ${await answer.clone().text()}`);
    return answer;
  };
  const createChat = (workspaceId = ACME): string => {
    chats += 1;
    const chatId = `chat-${chats}`;
    emulator.addChat({ chatId, workspaceId });
    return chatId;
  };

  return {
    emulator,
    service,
    ask,
    createChat,
    send: async ({
      sub = "alice",
      claims,
      chatId,
      content = "hi",
      headers = {},
      body,
      ...rest
    } = {}) => {
      const credentials =
        "Authorization" in headers || "Cookie" in headers
          ? {}
          : { Authorization: `Bearer ${await mintToken({ workspace: "acme", sub, ...claims })}` };
      return ask(`/chat/${chatId ?? createChat()}/send`, {
        ...rest,
        method: "POST",
        headers: { "Content-Type": "application/json", ...credentials, ...headers },
        body: body ?? JSON.stringify({ content }),
      });
    },
    stop: async () => {
      await service.stop();
      await emulator.close();
    },
  };
}

/** A header with a token, for requests that `send` does not make. */
export async function bearer(claims: Record<string, unknown>): Promise<{ Authorization: string }> {
  return { Authorization: `Bearer ${await mintToken({ workspace: "acme", ...claims })}` };
}

export async function readCode(answer: Response): Promise<unknown> {
  return ((await answer.json()) as Record<string, unknown>)["code"];
}
