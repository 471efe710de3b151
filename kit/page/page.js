"use strict";
for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, row = head.parentElement, body = head.closest("table").tBodies[0];
    const column = [...row.children].indexOf(head);
    const turn = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of row.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", turn === 1 ? "ascending" : "descending");
    const key = (line) => {
      const cell = line.children[column];
      return cell.dataset.key ?? (isNaN(cell.textContent) ? undefined : cell.textContent);
    };
    const text = (line) => line.children[column].textContent;
    const compare = (one, two) => {
      const a = key(one), b = key(two);
      if (a !== undefined && b !== undefined) return turn * (Number(a) - Number(b));
      if (a !== undefined || b !== undefined) return a === undefined ? 1 : -1;
      return turn * text(one).localeCompare(text(two), "en", { numeric: true });
    };
    body.append(...[...body.rows].sort(compare));
  });
}
