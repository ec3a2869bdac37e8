// The API: requests, refusals, and a session that tells this visitor from others.

/** An answer that is no success: `problem` holds its problem details where it has some. */
export class Refusal extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.detail ?? `status ${status}`);
    this.status = status;
    this.problem = problem;
    this.retryAfter = retryAfter;
  }

  /** The problem's name, such as "not-an-image"; empty where there is none. */
  get code() {
    return (this.problem.type ?? "").split(":").pop();
  }
}

let session = null;

/** Have a session. Where that fails the visitor stays nameless, and everything else still works. */
function visit() {
  session ??= fetch("/api/session/anonymous", { method: "POST" }).catch(() => null);
  return session;
}

/** The JSON that `url` answers; throws Refusal, or TypeError where nothing answers. */
export async function get(url) {
  return read(await fetch(url, { headers: { accept: "application/json" } }));
}

/** The bytes that `url` answers; throws as `get` does. */
export async function bytes(url) {
  const answer = await fetch(url);
  return answer.ok ? answer.blob() : read(answer);
}

/** Begin a session with a name and a password; throws as `get` does. */
export async function signIn(name, password) {
  const body = JSON.stringify({ name, password });
  return read(await fetch("/api/session", { method: "POST", body, headers: { "content-type": "application/json" } }));
}

/** End the session. */
export async function signOut() {
  await fetch("/api/session", { method: "DELETE" });
}

/** Post `body`, as this visitor; a session that is good no more is replaced once. */
export async function post(url, body, { type, signal, headers = {} } = {}) {
  const send = () => fetch(url, { method: "POST", body, signal, headers: { "content-type": type, ...headers } });
  await visit();
  let answer = await send();
  if (answer.status === 401) {
    session = null;
    await visit();
    answer = await send();
  }
  return read(answer);
}

async function read(answer) {
  if (answer.ok) return answer.json();
  const isProblem = (answer.headers.get("content-type") ?? "").includes("json");
  const problem = isProblem ? await answer.json().catch(() => ({})) : {};
  throw new Refusal(answer.status, problem, Number(answer.headers.get("retry-after")) || null);
}
