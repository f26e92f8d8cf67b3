// The floor: node:http and an undici pool. It checks no session and no limit.
import { complete, present, serve } from "./floor-parts.js";
import { workspaces } from "./settings.js";

const [workspaceId] = workspaces.values();

serve(async (_request, chatId, content) => present(await complete(chatId, workspaceId, content)));
