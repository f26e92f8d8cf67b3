/** Implements `uponai-bff init`: writes a first `.env` with new keys. */
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";

import { COOKIE_KEY_BYTES } from "../config/variable-schemas.ts";
import { type Command, CommandError, UsageError } from "./command.ts";

const FILE = ".env";

const help = `uponai-bff init: writes ${FILE} with new keys, for a first run without an account.

Usage: uponai-bff init

It never overwrites a file. The other commands read ${FILE} of the current folder. Variables of the
environment come before those of the file.
`;

const NEXT_STEPS = `Wrote ${FILE}, with secrets of its own: do not commit it.

1. Try it without an account, each in a terminal of its own:
     npx uponai-bff emulator          a stand-in for UponAI
     npx uponai-bff start             the service
     npx uponai-bff token --sub me    a session token, as your login would issue one
     curl -X POST http://127.0.0.1:8787/chat -H "Authorization: Bearer TOKEN"
2. Your account: set the four UPONAI_ variables in ${FILE}.
3. Your login: set the SESSION_ variables to those of the login that signs the tokens.
4. Before production: set REDIS_URL, remove COOKIE_INSECURE, and set NODE_ENV=production.
After each step, npx uponai-bff doctor checks what you have.`;

function render(): string {
  const secret = randomBytes(48).toString("base64url");
  const cookieKey = randomBytes(COOKIE_KEY_BYTES).toString("base64url");
  return `# Settings of uponai-bff. The README lists all variables.

# The stand-in for UponAI that \`npx uponai-bff emulator\` starts. With an account: remove the address,
# and set the token and the ids of your workspace and agent.
UPONAI_BASE_URL=http://127.0.0.1:8790
UPONAI_API_TOKEN=demo-token
UPONAI_WORKSPACE_ID=42
UPONAI_AGENT_ID=demo-agent

# Who signs the session tokens, for whom, and the secret that both share.
SESSION_ISSUER=https://www.example.com/
SESSION_AUDIENCE=uponai-bff
SESSION_SECRET=${secret}

# Session cookies. Over plain http they work on localhost only.
COOKIE_KEYS=${cookieKey}
COOKIE_INSECURE=true

# Shared limits and stored answers. Without it one process keeps them, until it stops.
# REDIS_URL=redis://127.0.0.1:6379
`;
}

export const initCommand: Command = {
  summary: `writes a first ${FILE} with new keys`,
  help,
  async run(args) {
    if (args.length > 0) throw new UsageError("init takes no arguments");
    try {
      // Exclusive, so that no file is overwritten, and readable by its owner only.
      await writeFile(FILE, render(), { flag: "wx", mode: 0o600 });
    } catch (error) {
      const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
      throw new CommandError(
        code === "EEXIST"
          ? `${FILE} exists already; nothing was changed`
          : `${FILE} cannot be written: ${code}`,
      );
    }
    return NEXT_STEPS;
  },
};
