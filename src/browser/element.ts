/** Defines the `<uponai-chat>` element. Import it once, or load it as a script. */
import { UponaiChatElement, type UponaiChatEventMap } from "./element-class.ts";

// A script that is loaded twice, or a server, defines nothing.
if (typeof customElements !== "undefined" && customElements.get("uponai-chat") === undefined) {
  customElements.define("uponai-chat", UponaiChatElement);
}

declare global {
  interface HTMLElementTagNameMap {
    "uponai-chat": UponaiChatElement;
  }
  interface HTMLElementEventMap extends UponaiChatEventMap {}
}

export { UponaiChatElement };
