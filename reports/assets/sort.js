// Tables that a click on a column's name sorts; another click turns the order round. Rows without
// a value stay last.
document.querySelectorAll("table.sortable").forEach(table => {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  if (body.rows.length < 3) return;
  const text = (row, column) => row.cells[column].textContent.trim();
  const number = words => {
    const match = words.match(/^[★▲\s]*(-?[\d.,]+(?:e[+-]?\d+)?)/);
    return match ? parseFloat(match[1].replaceAll(",", "")) : NaN;
  };
  const empty = words => words === "" || words === "-";
  heads.forEach((head, column) => {
    if ([...body.rows].every(row => empty(text(row, column)))) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rows = [...body.rows], known = rows.filter(row => !empty(text(row, column)));
      const numeric = known.every(row => !Number.isNaN(number(text(row, column))));
      const now = head.getAttribute("aria-sort");
      const falling = now ? now === "ascending" : numeric;  // numbers begin with the greatest
      const compare = (one, other) => numeric
        ? number(text(one, column)) - number(text(other, column))
        : text(one, column).localeCompare(text(other, column), "en", { numeric: true });
      known.sort((one, other) => (falling ? -1 : 1) * compare(one, other));
      body.append(...known, ...rows.filter(row => empty(text(row, column))));
      heads.forEach(each => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    });
  });
});
