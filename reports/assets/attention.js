// The attention of a chosen map object as heat over the patches of its tile.
document.querySelectorAll(".attention").forEach(block => {
  const data = JSON.parse(block.querySelector("script").textContent);
  const [stage, svg, canvas, opacity, relative, adds, output, peakName] = [
    ".stage", ".stage svg", ".stage canvas", "[data-opacity]", "[data-relative]", "[data-adds]",
    "output", "[data-peak]",
  ].map(name => block.querySelector(name));
  const channel = (colour, start) => parseInt(colour.slice(start, start + 2), 16);
  const ramp = data.ramp.map(colour => [1, 3, 5].map(start => channel(colour, start)));
  const mean = attention(data.mean);
  let chosen = -1;

  // In multiples of attention spread evenly over the patches.
  function attention([peak, levels]) {
    return [...atob(levels)].map(letter => letter.charCodeAt(0) / 255 * peak);
  }

  function draw() {
    const context = canvas.getContext("2d");
    const picture = context.createImageData(data.cols, data.rows);
    const fused = adds !== null && adds.checked;
    if (fused || chosen >= 0) {
      const own = attention(fused ? data.adds : data.objects[chosen]);
      const above = own.map((value, patch) => Math.max(value - mean[patch], 0));
      const values = relative.checked && !fused ? above : own;
      const peak = Math.max(...values, 1e-9);
      values.forEach((value, patch) => {
        const share = value / peak, colour = ramp[Math.round(share * (ramp.length - 1))];
        const alpha = 255 * opacity.value / 100 * Math.min(1.8 * share, 1);
        picture.data.set([...colour, alpha], 4 * patch);
      });
      peakName.textContent = fused ? `${peak.toFixed(1)} x the mean of the patches`
        : relative.checked
        ? `${peak.toFixed(2)} above the mean, in units of even attention`
        : `${peak.toFixed(1)} x even attention`;
    }
    context.putImageData(picture, 0, 0);
  }

  function choose(number) {
    chosen = (number + data.objects.length) % data.objects.length;
    block.querySelectorAll("[data-object]").forEach(item => {
      const on = Number(item.dataset.object) === chosen;
      item.classList.toggle("on", on);
      if (item.tagName !== "BUTTON") return;
      item.setAttribute("aria-pressed", on);
      item.closest("tr").classList.toggle("on", on);
      if (on) {
        const list = item.closest(".list"), row = item.closest("tr");
        list.scrollTop = row.offsetTop - list.clientHeight / 2;
        output.textContent = item.dataset.words;
      }
    });
    stage.classList.add("some");
    draw();
  }

  block.addEventListener("click", event => {
    const item = event.target.closest("[data-object]");
    if (item) choose(Number(item.dataset.object));
  });
  svg.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(chosen < 0 && step < 0 ? -1 : chosen + step);
  });
  opacity.addEventListener("input", draw);
  relative.addEventListener("change", draw);
  if (adds) adds.addEventListener("change", () => { stage.classList.add("some"); draw(); });
});
