/** The entry of the service on Node: `npm start`, and what a container runs. */
import { runService } from "./node/run.ts";

await runService();
