// Where it begins.
import { render } from "preact";
import { App } from "./app";
import { startRouter } from "./router";
import { start } from "./session";
import { startClock } from "./signal";
import "./style.css";

const root = document.getElementById("app");
if (root) {
  startRouter();
  startClock();
  render(<App />, root);
  void start();
}
