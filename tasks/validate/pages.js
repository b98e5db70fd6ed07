// The buttons "Show All" and "Failed Only" of a result page, which want jQuery in the original.
function showSucceeded(shown) {
  document.querySelectorAll(".hide-succeeded-validation-target").forEach((e) => { e.hidden = !shown; });
  document.querySelectorAll(".hide-succeeded-validation-target-child").forEach((e) => { e.parentElement.hidden = !shown; });
  document.querySelectorAll(".hide-succeeded-validations-column-section-target-child").forEach((e) => {
    e.parentElement.parentElement.hidden = !shown;
  });
  document.querySelectorAll("[data-toggle=buttons] .btn").forEach((e, i) => e.classList.toggle("active", (i === 0) === shown));
}
function showAllValidations() { showSucceeded(true); }
function hideSucceededValidations() { showSucceeded(false); }
