
const field = document.querySelector("input");
const rows = [...document.querySelectorAll(".sessions li")];
const show = () => {
  const words = field.value.toLowerCase().split(/\s+/);
  for (const row of rows) row.hidden = !words.every((word) => row.dataset.text.includes(word));
};
field.hidden = false;
field.addEventListener("input", show);
show();
