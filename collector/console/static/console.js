// The console's only script: draws plots, and says so when the collector cannot be reached.
// It must not compute what is billed; figures that matter are rendered by the server.
"use strict";

(() => {
  const REFRESH_MS = 60_000;
  const language = document.documentElement.lang;
  const zone = document.documentElement.dataset.zone;
  const plots = new Map();

  const number = (value, digits) =>
    value == null
      ? "–"
      : new Intl.NumberFormat(language === "vi" ? "vi-VN" : "en-GB", {
          minimumFractionDigits: digits,
          maximumFractionDigits: digits,
        }).format(value);
  const time = (seconds) =>
    new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit" }).format(
      new Date(seconds * 1000),
    );
  const colour = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  function axes(unit) {
    const common = {
      stroke: () => colour("text-quiet"),
      grid: { stroke: () => colour("plot-grid"), width: 1 },
      ticks: { stroke: () => colour("plot-grid"), width: 1, size: 4 },
      font: '12px system-ui, "Noto Sans", "DejaVu Sans", sans-serif',
    };
    return [
      { ...common, values: (_, ticks) => ticks.map(time) },
      {
        ...common,
        size: 62,
        values: (_, ticks) => {
          const digits = ticks.every(Number.isInteger) ? 0 : 1;
          return ticks.map((tick) => `${number(tick, digits)} ${unit}`);
        },
      },
    ];
  }

  function draw(holder, options, data) {
    const canvas = holder.querySelector(".canvas");
    plots.get(holder)?.plot.destroy();
    const height = holder.classList.contains("low") ? 190 : window.innerWidth < 640 ? 260 : 320;
    const plot = new uPlot(
      {
        width: canvas.clientWidth,
        height,
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false } },
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), zone),
        ...options,
      },
      data,
      canvas,
    );
    plots.set(holder, { plot, height });
    holder.dataset.drawn = "true";
  }

  function show(holder, state) {
    for (const part of holder.querySelectorAll("[data-when]")) {
      part.hidden = part.dataset.when !== state;
    }
    holder.dataset.state = state;
    holder.setAttribute("aria-busy", String(state === "loading"));
  }

  function clear(holder) {
    plots.get(holder)?.plot.destroy();
    plots.delete(holder);
    delete holder.dataset.drawn;
  }

  // Two points a row, its start and its end, so that every step is drawn as wide as it is, beside
  // a gap too. The end keeps just off the next start: uPlot wants x to grow.
  const END_S = 0.001;
  const stepped = (column) => column.flatMap((value) => [value, value]);
  const joined = (column) =>
    column.flatMap((value, row) => [value, value == null ? null : (column[row + 1] ?? null)]);

  function dayColumns(day) {
    const hours = day.step_s / 3600;
    const starts = day.starts_at.map((text) => Date.parse(text) / 1000);
    const kilowatts = (column) => column.map((wh) => (wh == null ? null : wh / 1000 / hours));
    const sold = (isComplete) =>
      kilowatts(day.sold_wh.map((wh, row) => (day.complete[row] === isComplete ? wh : null)));
    return [
      starts.flatMap((start) => [start, start + day.step_s - END_S]),
      joined(day.power_w.map((watts) => (watts == null ? null : watts / 1000))),
      stepped(kilowatts(day.received_wh)),
      stepped(sold(true)),
      stepped(sold(false)),
    ];
  }

  function daySeries() {
    const line = (name, more) => ({
      stroke: () => colour(name),
      width: 2,
      paths: uPlot.paths.linear(),
      points: { show: false },
      ...more,
    });
    return [
      {},
      line("plot-power", { width: 1.25 }),
      line("plot-received"),
      line("plot-sold"),
      line("plot-sold", { width: 1.5, dash: [5, 4] }),
    ];
  }

  function readout(holder, day) {
    const place = holder.closest("[data-plot-card]").querySelector(".readout");
    const words = holder.dataset;
    return (plot) => {
      const row = plot.cursor.idx == null ? -1 : plot.cursor.idx >> 1;
      if (row < 0) {
        place.textContent = words.help;
        return;
      }
      const start = Date.parse(day.starts_at[row]) / 1000;
      const received = day.received_wh[row];
      const sold = day.sold_wh[row];
      const kwh = (wh) => `${number(wh == null ? null : wh / 1000, 2)} kWh`;
      const parts = [
        `${time(start)}–${time(start + day.step_s)}`,
        `${words.received} ${kwh(received)}`,
        `${words.sold} ${kwh(sold)}${sold != null && !day.complete[row] ? ` (${words.partial})` : ""}`,
      ];
      if (received != null && sold != null && day.complete[row]) {
        parts.push(`${words.lost} ${kwh(received - sold)}`);
      }
      place.textContent = parts.join(" · ");
    };
  }

  function sums(holder, day) {
    const card = holder.closest("[data-plot-card]");
    let received = 0;
    let sold = 0;
    let rows = 0;
    day.starts_at.forEach((_, row) => {
      if (day.received_wh[row] != null && day.complete[row]) {
        received += day.received_wh[row];
        sold += day.sold_wh[row];
        rows += 1;
      }
    });
    const kwh = (wh) => (rows ? `${number(wh / 1000, 1)} kWh` : "–");
    const put = (name, text) => {
      const place = card.querySelector(`[data-sum="${name}"]`);
      if (place) place.textContent = text;
    };
    put("received", kwh(received));
    put("sold", kwh(sold));
    put("lost", kwh(received - sold));
    put("percent", received ? `${number((100 * (received - sold)) / received, 2)} %` : "–");
    put("rows", `${number(rows, 0)} / ${number(day.starts_at.length, 0)}`);
    const silent = card.querySelector("[data-silent]");
    silent.hidden = day.silent_points.length === 0;
    silent.querySelector("b").textContent = number(day.silent_points.length, 0);
    silent.title = day.silent_points.slice(0, 20).join(", ");
  }

  // Several requests may find the session ended at once; a second assign would abort the first.
  let isLeaving = false;
  function toLogin() {
    if (isLeaving) return;
    isLeaving = true;
    window.location.assign("/login");
  }

  async function loadDay(holder) {
    if (!holder.dataset.drawn) show(holder, "loading");
    try {
      const answer = await fetch(holder.dataset.plot, { headers: { Accept: "application/json" } });
      if (answer.status === 401) return toLogin();
      if (!answer.ok) throw new Error(String(answer.status));
      const day = await answer.json();
      sums(holder, day);
      const known = (column) => column.some((value) => value != null);
      if (![day.power_w, day.received_wh, day.sold_wh].some(known)) {
        clear(holder);
        return show(holder, "empty");
      }
      show(holder, "drawn");
      const tell = readout(holder, day);
      const from = Date.parse(day.from_at) / 1000;
      const to = Date.parse(day.to_at) / 1000;
      draw(
        holder,
        {
          series: daySeries(),
          bands: [{ series: [2, 3], fill: () => colour("plot-band") }],
          axes: axes("kW"),
          scales: {
            x: { time: true, range: () => [from, to] },
            y: { range: (_, low, high) => [Math.min(0, low * 1.08), Math.max(0.1, high * 1.08)] },
          },
          hooks: { setCursor: [tell] },
        },
        dayColumns(day),
      );
    } catch {
      // The holder shows the error; the next refresh tries again.
      clear(holder);
      show(holder, "error");
    }
    return undefined;
  }

  // The bars take their figures from the table beside them: one source, and it reads aloud.
  function drawLosses(holder) {
    const rows = [...document.querySelectorAll(`#${holder.dataset.losses} tr[data-day]`)].reverse();
    const known = rows.filter((row) => row.dataset.lossPercent);
    holder.hidden = known.length === 0;
    if (known.length === 0) return;
    const x = rows.map((_, position) => position);
    const y = rows.map((row) => (row.dataset.lossPercent ? Number(row.dataset.lossPercent) : null));
    const [base, left] = axes("%");
    draw(
      holder,
      {
        series: [
          {},
          {
            stroke: () => colour("plot-loss"),
            fill: () => colour("plot-loss"),
            paths: uPlot.paths.bars({ size: [0.62, 34] }),
            points: { show: false },
          },
        ],
        axes: [
          {
            ...base,
            splits: () => x.filter((position) => position % Math.ceil(x.length / 8) === 0),
            values: (_, ticks) => ticks.map((tick) => rows[tick]?.dataset.label ?? ""),
          },
          left,
        ],
        scales: {
          x: { time: false, range: () => [-0.7, x.length - 0.3] },
          y: { range: (_, low, high) => [Math.min(0, low * 1.1), Math.max(1, high * 1.1)] },
        },
      },
      [x, y],
    );
  }

  function start(root) {
    for (const holder of root.querySelectorAll("[data-plot]")) loadDay(holder);
    for (const holder of root.querySelectorAll("[data-losses]")) drawLosses(holder);
  }

  function forgetRemoved() {
    for (const holder of plots.keys()) if (!holder.isConnected) clear(holder);
  }

  document.addEventListener("DOMContentLoaded", () => {
    start(document);
    // On a phone the pages' names are wider than the screen.
    const tab = document.querySelector(".nav [aria-current]");
    tab?.scrollIntoView({ block: "nearest", inline: "center" });
    for (const field of document.querySelectorAll("[data-submits]")) {
      field.addEventListener("change", () => field.form.requestSubmit());
    }
    setInterval(() => {
      if (document.hidden) return;
      for (const holder of document.querySelectorAll("[data-plot][data-refresh]")) loadDay(holder);
    }, REFRESH_MS);
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    forgetRemoved();
    start(event.target);
  });

  const away = (isAway) => {
    document.getElementById("away").hidden = !isAway;
  };
  document.addEventListener("htmx:sendError", () => away(true));
  document.addEventListener("htmx:beforeOnLoad", (event) => {
    if (event.detail.xhr.status !== 401) return;
    event.preventDefault();
    toLogin();
  });
  document.addEventListener("htmx:afterOnLoad", () => away(false));

  window.addEventListener("resize", () => {
    for (const [holder, { plot, height }] of plots) {
      plot.setSize({ width: holder.querySelector(".canvas").clientWidth, height });
    }
  });
  window
    .matchMedia("(prefers-color-scheme: dark)")
    .addEventListener("change", () => plots.forEach(({ plot }) => plot.redraw()));
})();
