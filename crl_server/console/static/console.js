// The console works without this. It only keeps what htmx fetches by itself out of the way of whoever reads.
"use strict";

// A page that nobody looks at does not ask for news.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.target.hasAttribute("data-live")) event.preventDefault();
});

// Typing into a field of a choice makes that choice.
document.addEventListener("input", (event) => {
  const option = event.target.closest(".option");
  const radio = option && option.querySelector("input[type=radio]");
  if (radio && event.target !== radio) radio.checked = true;
});

// A form that acts is sent once.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post") return;
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});
