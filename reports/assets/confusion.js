// A cell of a confusion in words, with its row's and its column's names marked.
document.querySelectorAll(".confusion-block").forEach(block => {
  const output = block.querySelector("output"), words = output.textContent, table = block.querySelector("table");
  function mark(cell) {
    table.querySelectorAll(".on").forEach(name => name.classList.remove("on"));
    if (!cell) return;
    cell.parentElement.cells[0].classList.add("on");
    table.tHead.rows[0].cells[cell.cellIndex].classList.add("on");
  }
  table.querySelectorAll("td[title]").forEach(cell => {
    cell.dataset.words = cell.title;
    cell.removeAttribute("title");
  });
  table.addEventListener("pointerover", event => {
    const cell = event.target.closest("td[data-words]");
    mark(cell);
    output.textContent = cell ? cell.dataset.words : words;
  });
  table.addEventListener("pointerleave", () => {
    mark(null);
    output.textContent = words;
  });
});
