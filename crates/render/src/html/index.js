
const field = document.querySelector("input");
const none = document.querySelector(".none");
const rows = [...document.querySelectorAll(".sessions li")];
const show = () => {
  const words = field.value.toLowerCase().split(/\s+/);
  for (const row of rows) row.hidden = !words.every((word) => row.dataset.text.includes(word));
  none.hidden = rows.length === 0 || rows.some((row) => !row.hidden);
};
field.hidden = false;
field.addEventListener("input", show);
show();
