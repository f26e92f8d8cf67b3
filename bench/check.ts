/**
 * Checks that a target does the whole job before it is measured. A target that skips work would be
 * fast, and its figures would mean nothing.
 */
import assert from "node:assert/strict";

import type { Redis } from "ioredis";

import { pause } from "./child.ts";
import { createSession } from "./sessions.ts";
import { type TargetDefinition, UPSTREAM_TOKEN } from "./targets.ts";

/** Numbers of sessions that the load does not use, so that the check changes none of its chats. */
const FIRST_NUMBER = 1_000_000;
/** Longest time to wait for a target that is not connected yet. */
const READY_MS_MAX = 10_000;
const READY_POLL_MS = 50;

const CONTENT = 'Is "this" passed on — verbatim?';
let number = FIRST_NUMBER;

/**
 * @param redis where the target keeps its state; undefined: its commands are not counted
 * @throws AssertionError that names what the target does not do
 */
export async function checkTarget(
  { name, guarded }: TargetDefinition,
  port: number,
  upstreamPort: number,
  redis: Redis | undefined,
): Promise<void> {
  await waitUntilReady(name, port);
  const session = createSession((number += 1));
  const commandsBefore = redis === undefined ? 0 : await countCommands(redis);
  const answer = await send(port, session.chatId, `Bearer ${session.token}`);
  const commands = redis === undefined ? 1 : (await countCommands(redis)) - commandsBefore - 1;
  assert.equal(answer.status, 201, `${name} does not answer 201`);
  const { messages } = readRecord(await answer.json());
  assert.ok(Array.isArray(messages) && messages.length === 1, `${name} returns no messages`);

  const last = await fetch(`http://127.0.0.1:${upstreamPort}/last`);
  const { authorization, body } = readRecord(await last.json());
  assert.equal(authorization, `Bearer ${UPSTREAM_TOKEN}`, `${name} sends no token`);
  const { content, workspaceId } = readRecord(JSON.parse(String(body)));
  assert.equal(content, CONTENT, `${name} changes the message`);
  if (!guarded) return;

  assert.equal(workspaceId, session.workspaceId, `${name} maps the workspace wrongly`);
  assert.ok(commands > 0, `${name} asks Redis nothing`);
  const forged = `${session.token.slice(0, -4)}AAAA`;
  for (const authorization of [undefined, `Bearer ${forged}`]) {
    const { status } = await send(port, session.chatId, authorization);
    assert.equal(status, 401, `${name} serves a session that is not proven`);
  }
}

async function waitUntilReady(name: string, port: number): Promise<void> {
  const deadlineMs = performance.now() + READY_MS_MAX;
  for (;;) {
    const { chatId, token } = createSession((number += 1));
    const { status } = await send(port, chatId, `Bearer ${token}`);
    if (status === 201) return;
    if (performance.now() > deadlineMs) throw new Error(`${name} answers ${status}, not 201`);
    await pause(READY_POLL_MS);
  }
}

/** Sends the message of a session, and returns the status of the answer. */
export async function sendOnce(
  port: number,
  sessionNumber: number,
  chat?: string,
): Promise<number> {
  const { chatId, token } = createSession(sessionNumber);
  const { status, body } = await send(port, chat ?? chatId, `Bearer ${token}`);
  await body?.cancel();
  return status;
}

function send(port: number, chatId: string, authorization: string | undefined): Promise<Response> {
  const headers = new Headers({
    "Content-Type": "application/json",
    "X-Forwarded-For": "198.51.100.7",
  });
  if (authorization !== undefined) headers.set("Authorization", authorization);
  return fetch(`http://127.0.0.1:${port}/chat/${chatId}/send`, {
    method: "POST",
    headers,
    body: JSON.stringify({ content: CONTENT }),
    signal: AbortSignal.timeout(READY_MS_MAX),
  });
}

async function countCommands(redis: Redis): Promise<number> {
  const stats = await redis.info("stats");
  return Number(/total_commands_processed:(\d+)/.exec(stats)?.[1]);
}

function readRecord(value: unknown): Record<string, unknown> {
  assert.ok(typeof value === "object" && value !== null, "an answer is no JSON object");
  return { ...value };
}
