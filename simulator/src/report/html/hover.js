"use strict";
(() => {
  const two = (n, per, big, small) => {
    const a = Math.floor(n / per), b = Math.floor(n % per);
    return b ? `${a}${big} ${b}${small}` : `${a}${big}`;
  };
  const span = (ms) => {
    if (ms < 0) return "-" + span(-ms);
    if (ms < 1000) return Math.round(ms) + "ms";
    if (ms < 60000) return Math.round(ms / 100) / 10 + "s";
    if (ms < 3600000) return two(ms / 1000, 60, "min", "s");
    if (ms < 86400000) return two(ms / 60000, 60, "h", "min");
    return two(ms / 3600000, 24, "d", "h");
  };
  const NS = document.querySelector("svg").namespaceURI;
  const number = (v) => v.toLocaleString("en", { maximumFractionDigits: Math.abs(v) < 10 ? 2 : 1 });
  const index = (xs, x, steps) => {
    let low = 0, high = xs.length;
    while (low < high) { const m = (low + high) >> 1; if (xs[m] <= x) low = m + 1; else high = m; }
    if (steps) return low - 1;
    return low > 0 && (low === xs.length || x - xs[low - 1] < xs[low] - x) ? low - 1 : low;
  };
  const nearest = (series, x) => {
    let best = null;
    for (const s of series) {
      const i = index(s.x, x, false);
      if (i in s.x && (best === null || Math.abs(s.x[i] - x) < Math.abs(best - x))) best = s.x[i];
    }
    return best === null ? x : best;
  };
  const attach = (figure) => {
    const svg = figure.querySelector("svg"), d = JSON.parse(figure.querySelector("script").textContent);
    d.series.forEach((s) => { s.x ??= d.series[0].x; });
    const box = svg.viewBox.baseVal, spread = (v) => d.wait ? Math.log1p(Math.max(v, 0) / 1000) : v;
    const back = (v) => d.wait ? Math.expm1(v) * 1000 : v;
    const low = spread(d.min), high = spread(d.max);
    const hair = document.createElementNS(NS, "path"), tip = document.createElement("div");
    hair.setAttribute("class", "hair");
    tip.className = "tip";
    const hide = () => { hair.remove(); tip.remove(); };
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("pointermove", (event) => {
      const place = svg.getBoundingClientRect(), scale = box.width / place.width;
      const part = ((event.clientX - place.left) * scale - d.left) / d.width;
      if (part < 0 || part > 1) return hide();
      let x = back(low + part * (high - low));
      if (!d.steps) x = nearest(d.series, x);
      tip.replaceChildren();
      const head = document.createElement("b");
      head.textContent = d.time ? span(x) : `${d.label}: ${number(x)}`;
      tip.append(head);
      for (const s of d.series) {
        const i = index(s.x, x, d.steps), v = s.y[i];
        if (!(i in s.y) || (!d.steps && s.x[i] !== x)) continue;
        const row = document.createElement("div"), dash = document.createElement("i");
        dash.className = s.colour;
        row.append(dash, `${s.name}: ${v === null ? "–" : (d.waits ? span(v) : number(v) + d.unit)}`);
        tip.append(row);
      }
      const at = d.left + (spread(x) - low) / (high - low) * d.width;
      hair.setAttribute("d", `M${at} 26V${box.height - 44}`);
      if (!hair.parentNode) svg.append(hair);
      if (!tip.parentNode) figure.append(tip);
      const frame = figure.getBoundingClientRect(), left = place.left - frame.left + at / scale;
      const flip = left + tip.offsetWidth + 28 > frame.width;
      tip.style.left = `${Math.max(4, flip ? left - tip.offsetWidth - 12 : left + 12)}px`;
      tip.style.top = `${place.top - frame.top + 24}px`;
    });
  };
  document.querySelectorAll("figure.chart").forEach((figure) => {
    if (figure.querySelector("script")) attach(figure);
  });
})();
