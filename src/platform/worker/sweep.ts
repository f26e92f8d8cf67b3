/** How long expired values may lie in an object before they are swept, in milliseconds. */
export const SWEEP_EVERY_MS = 600_000;
