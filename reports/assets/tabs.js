// Panels of which one is shown: buttons with the roles and keys of a list of tabs.
document.querySelectorAll(".tabs").forEach((tabs, group) => {
  const panels = [...tabs.children];
  const list = document.createElement("div");
  list.className = "tablist";
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", tabs.dataset.label);
  const buttons = panels.map((panel, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = panel.dataset.tab;
    button.id = `tab-${group}-${place}`;
    panel.id = `panel-${group}-${place}`;
    button.setAttribute("role", "tab");
    button.setAttribute("aria-controls", panel.id);
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", button.id);
    button.addEventListener("click", () => show(place));
    list.append(button);
    return button;
  });
  function show(chosen) {
    panels.forEach((panel, place) => {
      panel.hidden = place !== chosen;
      buttons[place].setAttribute("aria-selected", place === chosen);
      buttons[place].tabIndex = place === chosen ? 0 : -1;
    });
  }
  list.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = (buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length;
    show(next);
    buttons[next].focus();
  });
  tabs.prepend(list);
  tabs.classList.add("live");
  show(0);
});
