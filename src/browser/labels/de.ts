import type { Labels } from "./labels.ts";

/** German texts. */
export const de: Labels = {
  conversation: "Unterhaltung",
  input: "Ihre Nachricht",
  placeholder: "Nachricht schreiben",
  send: "Senden",
  you: "Sie:",
  bot: "Assistent:",
  empty: "Wie können wir Ihnen helfen?",
  earlier: "Frühere Nachrichten anzeigen",
  loading: "Die Unterhaltung wird geladen …",
  sending: "Die Antwort kommt gleich …",
  slow: "Das kann eine Minute dauern.",
  verySlow:
    "Wir arbeiten noch daran. Sie können die Seite verlassen: Die Antwort ist da, wenn Sie wiederkommen.",
  rateLimited: "Viele Nachrichten in kurzer Zeit. Ihre Nachricht wird von selbst erneut gesendet",
  busy: "Der Dienst ist ausgelastet. Ihre Nachricht wird von selbst erneut gesendet",
  reconnecting: "Die Verbindung ist abgebrochen. Neuer Versuch",
  seconds: (count) => `in ${count} s`,
  ended: "Diese Unterhaltung ist beendet.",
  tryAgain: "Erneut versuchen",
  discard: "Verwerfen",
  newChat: "Neue Unterhaltung",
  unknown:
    "Wir wissen noch nicht, ob Ihre Nachricht angekommen ist. Ein neuer Versuch sendet sie nicht doppelt.",
  failed: "Das hat nicht geklappt. Bitte versuchen Sie es später noch einmal.",
  errors: {
    session_required: "Bitte melden Sie sich an. Ihre Nachricht bleibt erhalten.",
    rate_limited: "Sie haben viele Nachrichten gesendet. Bitte warten Sie eine Weile.",
    chat_not_found: "Diese Unterhaltung gibt es nicht mehr.",
    message_rejected: "Diese Nachricht wurde nicht angenommen. Bitte ändern Sie sie.",
    invalid_request: "Diese Nachricht wurde nicht angenommen. Vielleicht ist sie zu lang.",
    content_too_large: "Diese Nachricht ist zu lang. Bitte kürzen Sie sie.",
    workspace_unmapped: "Ihr Konto hat keinen Zugang zu diesem Chat.",
    unreachable: "Es besteht keine Verbindung. Bitte prüfen Sie Ihr Netz.",
  },
};
