// The values of a line chart under the pointer, or at the place that the arrow keys have come to.
document.querySelectorAll("[data-chart]").forEach(figure => {
  const data = JSON.parse(figure.dataset.chart);
  const [svg, output, cursor] = ["svg", "output", ".cursor"].map(name => figure.querySelector(name));
  const line = cursor.querySelector("line"), dots = cursor.querySelectorAll("circle"), words = output.textContent;
  let place = -1;
  output.style.minHeight = `${output.offsetHeight}px`;   // so that nothing moves while values are read
  function read(index) {
    place = Math.min(Math.max(index, 0), data.at.length - 1);
    line.setAttribute("x1", data.at[place]);
    line.setAttribute("x2", data.at[place]);
    data.series.forEach((series, number) => {
      dots[number].style.display = series.at[place] === null ? "none" : "";
      dots[number].setAttribute("cx", data.at[place]);
      dots[number].setAttribute("cy", series.at[place] ?? 0);
    });
    cursor.removeAttribute("hidden");
    output.textContent = `${data.name} ${data.x[place]}: ` + data.series.map(series => `${series.name} ${series.text[place]}`).join(", ");
  }
  function leave() {
    place = -1;
    cursor.setAttribute("hidden", "");
    output.textContent = words;
  }
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    read(data.at.reduce((best, at, index) => Math.abs(at - x) < Math.abs(data.at[best] - x) ? index : best, 0));
  });
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("blur", leave);
  svg.addEventListener("keydown", event => {
    const next = { ArrowRight: place + 1, ArrowLeft: place < 0 ? data.at.length : place - 1, Home: 0, End: data.at.length }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    read(next);
  });
});
