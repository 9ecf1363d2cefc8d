// The API's types by their names, from docs/api/openapi.json.
import type { components } from "./api.gen";

type Schemas = components["schemas"];

export type Cluster = Schemas["Cluster"];
export type Event = Schemas["JobEvent"];
export type Freshness = Schemas["Freshness"];
export type Job = Schemas["Job"];
export type JobSpec = Schemas["JobSpec"];
export type JobState = Schemas["JobState"];
export type JobStatus = Schemas["JobStatus"];
export type LogItem = Schemas["LogItem"];
export type LogStream = Schemas["LogStream"];
export type Me = Schemas["Me"];
export type PageSettings = Schemas["PageSettings"];
export type Problem = Schemas["Problem"];
export type SignedIn = Schemas["SignedIn"];
export type SlurmOptions = Schemas["SlurmOptions"];
export type Task = Schemas["JobTask"];

/** One page of a list. */
export interface Page<T> {
  items: T[];
  next?: string | null;
}
