// A scene's layers: moved by pointer and keys, zoomed by wheel, pinch, keys and buttons, switched
// and faded one by one.
document.querySelectorAll(".map").forEach(map => {
  const [frame, layers, hint, bar, length] = [
    ".frame", ".layers", ".hint", ".scale-bar i", ".scale-bar span",
  ].map(name => map.querySelector(name));
  const pointers = new Map(), most = 24;
  let zoom = 1, left = 0, top = 0, fading = 0;

  // An offset within the frame: layers that are smaller than it stand in its middle.
  const within = (offset, size, whole) =>
    size < whole ? Math.min(Math.max(offset, size - whole), 0) : (size - whole) / 2;

  function show() {
    left = within(left, frame.clientWidth, layers.offsetWidth * zoom);
    top = within(top, frame.clientHeight, layers.offsetHeight * zoom);
    layers.style.transform = `translate(${left}px, ${top}px) scale(${zoom})`;
    layers.classList.toggle("near", zoom > 3);
    const metres = frame.dataset.metres / (layers.offsetWidth * zoom);   // a pixel
    const widest = metres * frame.clientWidth / 4, size = 10 ** Math.floor(Math.log10(widest));
    const round = size * [5, 2, 1].find(factor => factor * size <= widest);
    bar.style.width = `${round / metres}px`;
    length.textContent = round >= 1000 ? `${round / 1000} km` : `${+round.toPrecision(1)} m`;
  }

  function zoomBy(factor, x = frame.clientWidth / 2, y = frame.clientHeight / 2) {
    const next = Math.min(Math.max(zoom * factor, 1), most);
    left = x - (x - left) * next / zoom;
    top = y - (y - top) * next / zoom;
    zoom = next;
    show();
  }

  function moveBy(x, y) {
    left += x;
    top += y;
    show();
  }

  function home() {
    [zoom, left, top] = [1, 0, 0];
    show();
  }

  const actions = {
    in: () => zoomBy(1.5), out: () => zoomBy(1 / 1.5), home,
    full: () => document.fullscreenElement ? document.exitFullscreen()
      : frame.requestFullscreen(),
  };
  const keys = {
    "+": actions.in, "=": actions.in, "-": actions.out, 0: home, Home: home,
    ArrowLeft: () => moveBy(60, 0), ArrowRight: () => moveBy(-60, 0),
    ArrowUp: () => moveBy(0, 60), ArrowDown: () => moveBy(0, -60),
  };
  frame.addEventListener("keydown", event => {
    if (!(event.key in keys) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  frame.addEventListener("click", event => {
    const button = event.target.closest("[data-do]");
    if (button) actions[button.dataset.do]();
  });
  frame.addEventListener("wheel", event => {
    // The page scrolls on past a map that is not chosen.
    if (!event.ctrlKey && !frame.contains(document.activeElement)) {
      hint.classList.add("on");
      clearTimeout(fading);
      fading = setTimeout(() => hint.classList.remove("on"), 900);
      return;
    }
    event.preventDefault();
    const box = frame.getBoundingClientRect();
    zoomBy(1.0015 ** -event.deltaY, event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });

  frame.addEventListener("pointerdown", event => {
    if (event.target.closest("button")) return;
    frame.focus({ preventScroll: true });
    frame.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  frame.addEventListener("pointermove", event => {
    const from = pointers.get(event.pointerId);
    if (!from) return;
    const to = [event.clientX, event.clientY];
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const apart = point => Math.hypot(point[0] - other[0], point[1] - other[1]);
      const box = frame.getBoundingClientRect();
      zoomBy(apart(to) / Math.max(apart(from), 1), (to[0] + other[0]) / 2 - box.left,
        (to[1] + other[1]) / 2 - box.top);
      moveBy((to[0] - from[0]) / 2, (to[1] - from[1]) / 2);
    } else {
      moveBy(to[0] - from[0], to[1] - from[1]);
    }
    pointers.set(event.pointerId, to);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    frame.addEventListener(end, event => pointers.delete(event.pointerId));
  }
  frame.addEventListener("dblclick", event => {
    const box = frame.getBoundingClientRect();
    if (event.target.closest("button")) return;
    zoomBy(2, event.clientX - box.left, event.clientY - box.top);
  });

  map.querySelectorAll("input[data-layer]").forEach(input => {
    const image = layers.querySelector(`[data-layer="${input.dataset.layer}"]`);
    input.addEventListener("input", () => {
      if (input.type === "range") image.style.opacity = input.value / 100;
      else image.hidden = !input.checked;
    });
  });
  new ResizeObserver(show).observe(frame);
  show();
});
