// What is not there, or is somebody else's: nobody can tell which.
import { Empty, useTitle } from "../parts/basics";

export function NotFound({ what }: { what: "page" | "job" }) {
  useTitle("Not found");
  return (
    <Empty title={`This ${what} was not found`}>
      <p>{what === "job" ? "There is no such job, or it is not yours." : "The address may be mistyped or old."}</p>
      <p>
        <a class="button" href="/">
          Go to my jobs
        </a>
      </p>
    </Empty>
  );
}
