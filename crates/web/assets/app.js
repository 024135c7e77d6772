// What HTML and htmx don't do by themselves. Every page works without it.

// The user menu closes when one clicks elsewhere, and on Escape.
const closeMenus = (except) => {
  for (const menu of document.querySelectorAll('details.menu[open]')) {
    if (!menu.contains(except)) menu.open = false;
  }
};
document.addEventListener('click', (event) => closeMenus(event.target));
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape') return;
  document.activeElement?.closest('details.menu[open]')?.querySelector('summary').focus();
  closeMenus(null);
});

// What one is about to click must not be replaced under the finger: what comes by itself waits for its next turn.
let pressed = false;
document.addEventListener('pointerdown', () => { pressed = true; });
for (const end of ['pointerup', 'pointercancel']) {
  // After the click that belongs to it.
  document.addEventListener(end, () => setTimeout(() => { pressed = false; }));
}
document.addEventListener('htmx:beforeSwap', ({ detail }) => {
  if (pressed && !detail.requestConfig?.triggeringEvent) detail.shouldSwap = false;
});

// A page holds so many lines of output; the oldest go when more come.
document.addEventListener('htmx:sseMessage', ({ target }) => {
  const lines = target.closest('[data-kept]');
  for (let over = lines ? lines.childElementCount - Number(lines.dataset.kept) : 0; over > 0; over -= 1) {
    lines.firstElementChild.remove();
  }
});

// A state that changes is told to those who can't see it.
let state = document.getElementById('state')?.textContent;
document.addEventListener('htmx:afterSettle', () => {
  const now = document.getElementById('state')?.textContent;
  if (now !== state) document.getElementById('announcement').textContent = now ?? '';
  state = now;
});
