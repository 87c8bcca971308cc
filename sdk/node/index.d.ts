import type { Server as HttpServer } from 'node:http';
import type { Server as HttpsServer } from 'node:https';

export interface Contract {
  managed: boolean;
  node: string;
  component: string;
  version: string;
  digest: string;
  release: string;
  instance: string;
  stateDir: string;
  lameDuckMs: number;
  drainTimeoutMs: number;
  standby: boolean;
  handoverFile: string | null;
  notifyFd: number | null;
  notifySocket: string | null;
  /** Descriptors by name. */
  sockets: Map<string, number[]>;
}

export class ContractError extends Error {}
export function readContract(env?: Record<string, string | undefined>, pid?: number): Contract;

export interface Handover {
  state: Uint8Array;
  /** Of the process that wrote it. */
  version?: string;
  instance?: string;
}

export class HandoverError extends Error {}
export function writeHandover(path: string, component: string, left: Handover): Promise<void>;
export function readHandover(path: string, component: string): Promise<(Required<Handover> & { state: Buffer }) | null>;

export interface Series {
  inc(labels?: Record<string, string>, by?: number): void;
  set(value: number, labels?: Record<string, string>): void;
}

export interface Histogram {
  observe(value: number): void;
}

export interface Metrics {
  counter(name: string, help: string): Series;
  gauge(name: string, help: string, read?: () => number): Series;
  histogram(name: string, help: string, buckets?: number[]): Histogram;
}

export type State = 'starting' | 'standby' | 'serving' | 'paused' | 'draining';

export class Service {
  constructor(name: string, options?: { version?: string; admin?: string });
  readonly name: string;
  readonly version: string;
  readonly contract: Contract;
  readonly metrics: Metrics;
  readonly state: State;
  readonly paused: boolean;
  readonly inflight: number;
  readonly streams: number;
  readonly connections: number;

  /** Serves a server that does not listen itself on the inherited sockets called `name`; by hand, on `default`. */
  http(server: HttpServer | HttpsServer, options?: { name?: string; default?: string }): this;
  /** Must be done before the process says that it is ready. */
  onReady(callback: () => void | Promise<unknown>): this;
  /** After the last request. */
  onStop(callback: () => void | Promise<unknown>): this;
  /** Behind /healthz: one that throws makes the process unhealthy. Ask about this process only. */
  health(check: () => void | Promise<void>): this;
  onHandover(save: () => string | Uint8Array | Promise<string | Uint8Array>): this;
  onRestore(restore: (left: Required<Handover> & { state: Buffer }) => void | Promise<void>): this;
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Serves until SIGTERM or SIGINT; then drains and ends the process. */
  run(): Promise<never>;
}
