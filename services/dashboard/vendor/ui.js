// What the pages import from npm, in one module: bundled by `make vendor`.
export { Component, Fragment, createRef, h, render } from "preact";
export { useCallback, useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from "preact/hooks";
import htm from "htm";
import { h } from "preact";
export const html = htm.bind(h);
export { default as Chart } from "uplot";
