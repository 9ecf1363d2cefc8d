// Signing in with a token. It goes to the server once and is kept nowhere here.
import { useEffect, useRef, useState } from "preact/hooks";
import { Refused } from "../api";
import { useTitle } from "../parts/basics";
import { Mark } from "../parts/header";
import { signIn } from "../session";

export function SignIn({ why }: { why?: string | undefined }) {
  useTitle("Sign in");
  const [wrong, setWrong] = useState<{ message: string; request: string } | undefined>();
  const [busy, setBusy] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);

  const submit = async (event: Event) => {
    event.preventDefault();
    const token = field.current?.value.trim() ?? "";
    if (token === "") {
      setWrong({ message: "Paste your token here.", request: "" });
      field.current?.focus();
      return;
    }
    setBusy(true);
    setWrong(undefined);
    try {
      await signIn(token);
    } catch (error) {
      const problem = error instanceof Refused ? error.problem : undefined;
      setWrong({
        message: problem?.message ?? "Something went wrong in this page. Reload it and try again.",
        request: problem?.code === "unauthenticated" ? "" : (problem?.request_id ?? ""),
      });
      setBusy(false);
      field.current?.select();
    }
  };

  return (
    <main class="sign-in">
      <form class="card" onSubmit={submit} noValidate>
        <div class="brand">
          <Mark />
          Forebay
        </div>
        <h1>Sign in</h1>
        {why && (
          <p class="notice" role="status">
            {why}
          </p>
        )}
        <label for="token">Token</label>
        <input
          id="token"
          ref={field}
          type="password"
          autoComplete="current-password"
          spellcheck={false}
          placeholder="fb_…"
          aria-invalid={wrong ? true : undefined}
          aria-describedby={wrong ? "token-wrong token-help" : "token-help"}
        />
        {wrong && (
          <p class="wrong" id="token-wrong" role="alert">
            {wrong.message}
            {wrong.request && (
              <>
                {" "}
                <span class="small">
                  Request <code>{wrong.request}</code>
                </span>
              </>
            )}
          </p>
        )}
        <button type="submit" class="primary" disabled={busy}>
          {busy ? "Signing in…" : "Sign in"}
        </button>
        <p class="help" id="token-help">
          It begins with <code>fb_</code>. Whoever runs this installation makes it for you; it is the one that the{" "}
          <code>forebay</code> command uses. It is not kept in this browser.
        </p>
      </form>
    </main>
  );
}
