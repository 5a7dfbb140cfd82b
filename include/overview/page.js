// The page works without this but for two things: links to Airflow's own pages leave the frame only with it, and it
// hands the filled-in form to Airflow's API, as the person who is logged in.
"use strict";
(() => {
  const framed = window.top !== window;

  // Airflow's choice of light or dark, where the page stands in its frame.
  const theme = () => {
    try {
      const root = window.parent.document.documentElement;
      const dark = root.classList.contains("dark") || root.dataset.theme === "dark";
      document.documentElement.dataset.theme = dark ? "dark" : "light";
    } catch { /* another site's frame: the system's choice stays */ }
  };
  if (framed) {
    theme();
    try {
      const options = { attributes: true, attributeFilter: ["class", "data-theme"] };
      new MutationObserver(theme).observe(window.parent.document.documentElement, options);
    } catch { /* as above */ }
  }

  // A frame of Airflow's may not navigate the window; a link that stands in the window itself may.
  const leave = (address) => {
    if (!framed) {
      location.assign(address);
      return;
    }
    const link = window.parent.document.createElement("a");
    link.href = address;
    link.click();
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-airflow]");
    if (link && framed && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      leave(link.href);
    }
  });

  // The rollback's form.
  const form = document.getElementById("undo");
  if (form) {
    const said = document.getElementById("said");
    const button = document.getElementById("start");
    const values = () => ({
      lever: form.elements.lever.value,
      regions: [form.elements.regions.value],
      run: form.elements.run.value,
      reason: form.elements.reason.value,
      dry_run: form.elements.dry_run.checked,
    });
    const show = () => { document.getElementById("conf").textContent = JSON.stringify(values(), null, 2); };
    button.disabled = false;
    const airflow = document.body.dataset.airflowBase;
    // Airflow's own form offers to unpause; a run of a paused DAG would wait without a word.
    fetch(`${airflow}/api/v2/dags/${form.dataset.dag}`)
      .then((answer) => (answer.ok ? answer.json() : {}))
      .then((dag) => {
        if (dag.is_paused) {
          said.textContent = `The DAG ${form.dataset.dag} is paused: unpause it, or its run will wait.`;
        }
      })
      .catch(() => { /* Airflow will say so when the run is started */ });
    form.addEventListener("input", show);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      button.disabled = true;
      said.textContent = "Starting ...";
      try {
        const answer = await fetch(`${airflow}/api/v2/dags/${form.dataset.dag}/dagRuns`, {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify({ logical_date: null, conf: values() }),
        });
        const body = await answer.json();
        if (!answer.ok) {
          throw new Error(typeof body.detail === "string" ? body.detail : JSON.stringify(body.detail ?? body));
        }
        said.textContent = `Started: ${body.dag_run_id}`;
        leave(`${airflow}/dags/${form.dataset.dag}/runs/${encodeURIComponent(body.dag_run_id)}`);
      } catch (error) {
        said.textContent = `Airflow refused: ${error.message}`;
        button.disabled = false;
      }
    });
  }

  // A page that changes: looked at again while it is seen, and replaced only when there is something new.
  const EVERY = 10000;
  const again = async () => {
    const main = document.querySelector("main[data-version]");
    if (!main || document.hidden || main.contains(document.activeElement?.closest("input, select, textarea"))) {
      return;
    }
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (!answer.ok) {
        return;
      }
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
      if (!fresh || fresh.dataset.version === main.dataset.version) {
        return;
      }
      const open = new Set([...main.querySelectorAll("details[open]")].map((one) => one.textContent.slice(0, 200)));
      fresh.querySelectorAll("details").forEach((one) => { one.open = open.has(one.textContent.slice(0, 200)); });
      main.replaceWith(document.importNode(fresh, true));
    } catch { /* the next look may succeed */ }
  };
  if (document.querySelector("main[data-version]")) {
    setInterval(again, EVERY);
  }
})();
