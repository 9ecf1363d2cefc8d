// The page as a whole: who is signed in, and which page is shown.
import { useEffect, useRef } from "preact/hooks";
import { JobPage } from "./pages/job";
import { JobsPage } from "./pages/jobs";
import { NotFound } from "./pages/not-found";
import { SignIn } from "./pages/sign-in";
import { SubmitPage } from "./pages/submit";
import { Skeleton } from "./parts/basics";
import { Header } from "./parts/header";
import { place } from "./router";
import { session } from "./session";
import { useSignal } from "./signal";
import { Toasts } from "./toast";

export function App() {
  const now = useSignal(session);
  if (now.state === "unknown") {
    return (
      <main class="page" aria-busy="true">
        <Skeleton lines={6} />
      </main>
    );
  }
  if (now.state === "out") {
    return (
      <>
        <SignIn why={now.why} />
        <Toasts />
      </>
    );
  }
  return (
    <>
      <Header me={now.me} feed={now.feed} />
      <Shown />
      <Toasts />
    </>
  );
}

function Shown() {
  const { path, query } = useSignal(place);
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  // Whoever goes on by keyboard begins at the new page's top, and hears what it is.
  useEffect(() => {
    if (first.current) first.current = false;
    else main.current?.focus({ preventScroll: true });
  }, [path]);
  return (
    <main class="page" id="main" ref={main} tabIndex={-1}>
      {page(path, query)}
    </main>
  );
}

function page(path: string, query: URLSearchParams) {
  if (path === "/" || path === "/jobs") return <JobsPage query={query} />;
  if (path === "/submit") return <SubmitPage key={query.get("from") ?? ""} from={query.get("from")} />;
  const id = /^\/jobs\/(j[0-9a-z]{26})$/.exec(path)?.[1];
  if (id) return <JobPage key={id} id={id} />;
  return <NotFound what="page" />;
}
