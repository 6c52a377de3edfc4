"use strict";
// The episode browser. Its whole state is in the address behind "#", so that a page that is loaded
// anew, or sent to somebody, shows the same.
(() => {
  const $ = (id) => document.getElementById(id);
  const source = $("games");
  const watching = Number(document.body.dataset.reload || 0);
  const LISTED = 8;
  const SHORT = 16; // letters of an action that leave room for its bar on a phone
  let unfolded = false; // whether the rarer actions are shown too

  function make(tag, className, ...children) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...children.filter((child) => child !== null));
    return node;
  }
  const number = (value, digits = 2) =>
    value === null || value === undefined ? "\u2013" : value.toFixed(digits).replace("-", "\u2212");
  const percent = (value) => (100 * value).toFixed(1) + "%";

  // ---- state ----------------------------------------------------------------------------------
  const FIELDS = ["method", "split", "type", "outcome", "start", "min", "max"];
  const state = { episode: 0, step: 0, distinct: false };
  FIELDS.forEach((name) => (state[name] = ""));

  function readAddress() {
    const said = new URLSearchParams(location.hash.slice(1));
    FIELDS.forEach((name) => (state[name] = said.get(name) || ""));
    state.distinct = said.get("distinct") === "1";
    state.episode = Number(said.get("episode") || 0) || 0;
    state.step = Number(said.get("step") || 0) || 0;
    $("more-curves")?.toggleAttribute("open", said.get("more") === "1");
  }

  function writeAddress() {
    const said = new URLSearchParams();
    FIELDS.forEach((name) => state[name] && said.set(name, state[name]));
    if (state.distinct) said.set("distinct", "1");
    said.set("episode", state.episode);
    said.set("step", state.step);
    if ($("more-curves")?.open) said.set("more", "1");
    history.replaceState(null, "", "#" + said);
  }

  const data = source ? JSON.parse(source.textContent) : { games: [], pictures: {} };
  const games = data.games;
  let shown = [];

  // ---- which episodes -------------------------------------------------------------------------
  const OUTCOMES = {
    "": () => true,
    strict: (game) => game.strict,
    reach: (game) => game.success,
    missed: (game) => !game.success,
    invalid: (game) => game.steps.some((step) => step.problem),
  };

  function filtered() {
    const seen = new Set();
    return games
      .map((game, index) => ({ game, index }))
      .filter(({ game }) => {
        const length = game.steps.length;
        const fits =
          (!state.method || game.method === state.method) &&
          (!state.split || game.split === state.split) &&
          (!state.type || game.task_type === state.type) &&
          (!state.start || String(game.start) === state.start) &&
          (!state.min || length >= Number(state.min)) &&
          (!state.max || length <= Number(state.max)) &&
          (OUTCOMES[state.outcome] || OUTCOMES[""])(game);
        if (!fits || !state.distinct) return fits;
        const key = JSON.stringify([game.method, game.split, game.start, game.solution]);
        return game.success && !seen.has(key) && Boolean(seen.add(key));
      })
      .map(({ index }) => index);
  }

  function options(select, values) {
    values.forEach((value) => select.append(new Option(value, value)));
  }

  function fillFilters() {
    const unique = (name) => [...new Set(games.map((game) => game[name]))];
    options($("filter-method"), unique("method"));
    options($("filter-split"), unique("split"));
    const types = unique("task_type").filter((type) => type !== null).sort();
    options($("filter-type"), types);
    $("label-type").hidden = !types.length;
    options($("filter-start"), unique("start").sort((a, b) => a - b));
    FIELDS.forEach((name) =>
      $("filter-" + name).addEventListener("input", (event) => {
        state[name] = event.target.value;
        update();
      }),
    );
    $("filter-distinct").addEventListener("change", (event) => {
      state.distinct = event.target.checked;
      update();
    });
    $("filter-clear").addEventListener("click", () => {
      FIELDS.forEach((name) => (state[name] = ""));
      state.distinct = false;
      update();
    });
  }

  function showFilters() {
    FIELDS.forEach((name) => ($("filter-" + name).value = state[name]));
    $("filter-distinct").checked = state.distinct;
    const count = shown.length === games.length ? games.length : `${shown.length} of ${games.length}`;
    $("found").value = `${count} episode${games.length === 1 ? "" : "s"}`;
    $("filter-clear").disabled = !state.distinct && FIELDS.every((name) => !state[name]);
  }

  // ---- the list -------------------------------------------------------------------------------
  const lone = new Set(games.map((game) => game.method)).size < 2;
  const way = (game) => {
    const words = game.steps.map((step) => step.action ?? "?");
    return words.join(words.some((word) => word.includes(" ")) ? ", " : " ");
  };

  function showList() {
    const list = $("list");
    list.replaceChildren(
      ...shown.map((index) => {
        const game = games[index];
        const mark = make("span", game.success ? "won" : "lost", game.success ? "\u2713" : "\u2717");
        mark.title = game.success ? "goal reached" : "goal missed";
        const name = `${lone ? "" : game.method + ", "}${game.split}, start ${game.start}`;
        const item = make(
          "li", "", mark, make("span", "", name),
          make("span", "steps", `${game.steps.length} step${game.steps.length === 1 ? "" : "s"}`),
          game.task_type === null ? null : make("span", "kind", game.task_type),
          make("span", "way", way(game)),
        );
        item.id = "game-" + index;
        item.setAttribute("role", "option");
        item.addEventListener("click", () => choose(index));
        return item;
      }),
    );
  }

  function choose(index, step = 0) {
    state.episode = index;
    state.step = step;
    show();
  }

  function showSelection() {
    const list = $("list");
    for (const item of list.children) {
      item.setAttribute("aria-selected", String(item.id === "game-" + state.episode));
    }
    const item = $("game-" + state.episode);
    if (!item) return list.removeAttribute("aria-activedescendant");
    list.setAttribute("aria-activedescendant", item.id);
    const above = item.offsetTop - list.offsetTop, below = above + item.offsetHeight;
    if (above < list.scrollTop) list.scrollTop = above;
    if (below > list.scrollTop + list.clientHeight) list.scrollTop = below - list.clientHeight;
  }

  // ---- one episode ----------------------------------------------------------------------------
  function pair(label, ...value) {
    return value.length ? [make("dt", "", label), make("dd", "", ...value)] : [];
  }

  function stated(step) {
    return Object.entries(step.stated).flatMap(([name, value], place) => {
      const parts = [(place ? "; " : "") + name + ": " + value];
      if (name in step.wrong) parts.push(make("span", "wrong", ` (wrong: ${step.wrong[name]})`));
      return parts;
    });
  }

  function choices(step) {
    if (!step.choices.length) {
      return make("p", "empty", "The reply came to no action, so there is nothing to choose from.");
    }
    const first = ([word], place) => place < LISTED || word === step.action;
    const listed = step.choices.filter(first);
    const others = step.choices.filter((choice, place) => !first(choice, place));
    const table = bars(listed, step);
    if (step.legal_share !== null && step.legal_share < 0.9995) {
      table.append(make("span", "rest", "legal, of all"), make("span"),
        make("span", "share rest", percent(step.legal_share)));
    }
    if (!others.length) return table;
    const share = percent(others.reduce((sum, [, each]) => sum + each, 0));
    const more = make("details", "others",
      make("summary", "", `${others.length} others, ${share}`), bars(others, step));
    more.open = unfolded;
    more.addEventListener("toggle", () => (unfolded = more.open));
    return make("div", "", table, more);
  }

  function bars(some, step) {
    const long = step.choices.some(([word]) => word.length > SHORT);
    const table = make("div", long ? "choices long" : "choices");
    for (const [word, share] of some) {
      const taken = word === step.action ? " taken" : "";
      const fill = make("span", "fill" + taken);
      fill.style.width = 100 * share + "%";
      table.append(
        make("span", "word" + taken, word + (taken ? " \u25c2" : "")), fill,
        make("span", "share" + taken, percent(share)),
      );
    }
    return table;
  }

  function scene(game, step) {
    const image = make("img");
    image.src = "data:image/png;base64," + data.pictures[step.image];
    image.alt = `What is seen at step ${state.step + 1}`;
    const said = step.action === null
      ? make("span", "wrong", game.ending === "done" && !step.problem ? "DONE"
        : `no action (${(step.problem || "unknown").replaceAll("_", " ")})`)
      : make("span", "act", step.action);
    const words = make("dl", "words",
      ...pair("shown", ...(step.text ? [step.text] : [])),
      ...pair("states", ...stated(step)),
      ...pair("thinks", ...(step.thought ? [step.thought] : [])),
      ...pair("does", said),
      ...(step.problem ? pair("replied", step.reply) : []));
    return make("div", "scene", make("figure", "", image),
      make("div", "", words, make("p", "label", "legal actions"), choices(step)));
  }

  function sheet(game) {
    const head = ["step", "action", "log p", "log p_ref", "log F", "residual"];
    const worst = Math.max(1e-9, ...game.steps.map((step) => Math.abs(step.residual ?? 0)));
    const rows = game.steps.map((step, place) => {
      const miss = make("span", "miss");
      miss.style.width = step.residual === null ? "0" : (2.5 * Math.abs(step.residual)) / worst + "rem";
      const row = make("tr", place === state.step ? "now" : "",
        make("th", "", String(place + 1)), make("td", "", step.action ?? "\u2013"),
        make("td", "", number(step.log_pf)), make("td", "", number(step.log_ref)),
        make("td", "", number(step.log_flow)), make("td", "", miss, number(step.residual)));
      row.firstChild.scope = "row";
      row.addEventListener("click", () => go(place));
      return row;
    });
    const sum = (name) => number(game.steps.reduce((total, step) => total + step[name], 0));
    const last = make("tr", "", make("th", "", "game"), make("td"), make("td", "", sum("log_pf")),
      make("td", "", sum("log_ref")), make("td"), make("td", "", number(game.residual)));
    last.firstChild.scope = "row";
    const table = make("table", "",
      make("thead", "", make("tr", "", ...head.map((name) => {
        const cell = make("th", "", name);
        cell.scope = "col";
        return cell;
      }))),
      make("tbody", "", ...rows), make("tfoot", "", last));
    const box = make("div", "sheet", table);
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", "Log-probabilities, flows and residuals of every step");
    return box;
  }

  function steer(game) {
    const back = make("button", "", "\u2190 back"), on = make("button", "", "next \u2192");
    back.type = on.type = "button";
    back.id = "back";
    on.id = "next";
    back.disabled = state.step === 0;
    on.disabled = state.step === game.steps.length - 1;
    back.addEventListener("click", () => go(state.step - 1));
    on.addEventListener("click", () => go(state.step + 1));
    const slider = make("input");
    Object.assign(slider, { type: "range", id: "step", min: 1, max: game.steps.length });
    slider.value = state.step + 1;
    slider.setAttribute("aria-label", "Step");
    slider.addEventListener("input", () => go(Number(slider.value) - 1));
    const place = make("output", "", `step ${state.step + 1} of ${game.steps.length}`);
    place.setAttribute("aria-live", "polite");
    return make("div", "steer", back, slider, on, place);
  }

  function outcome(game) {
    const verdict = { terminated: "", done: "DONE, ", invalid_reply: "invalid reply, ",
      out_of_room: "no room left, ", truncated: "cut, " };
    const parts = [(verdict[game.ending] ?? "") + (game.success ? "goal reached" : "goal missed")];
    if (game.success && !game.strict) parts.push("not strict");
    return make("span", game.success ? "badge won" : "badge", parts.join(", "));
  }

  function showViewer() {
    const viewer = $("viewer"), game = games[state.episode];
    if (!shown.length || !game) {
      viewer.replaceChildren(make("p", "empty", "No episode fits these filters."));
      return;
    }
    const focused = document.activeElement?.id;
    const title = make("h3", "", `${lone ? "" : game.method + ", "}${game.split}, start ${game.start}`);
    title.id = "game-title";
    const figures = [`return ${number(game.total_reward, 0)}`];
    if (game.log_reward !== null) figures.push(`log R ${number(game.log_reward)}`);
    if (game.end_level !== null) figures.push(`implies log Z ${number(game.end_level)}`);
    const scroll = viewer.querySelector(".sheet")?.scrollTop ?? 0;
    viewer.replaceChildren(
      make("div", "bartop", title, outcome(game),
        game.task_type === null ? null : make("span", "kind", game.task_type),
        make("span", "steps", figures.join(", "))),
      make("p", "task", game.task), steer(game), scene(game, game.steps[state.step]), sheet(game));
    const box = viewer.querySelector(".sheet"), row = box.querySelector(".now");
    box.scrollTop = scroll;
    const top = row.offsetTop - box.querySelector("thead").offsetHeight;
    if (top < box.scrollTop) box.scrollTop = top;
    const bottom = row.offsetTop + row.offsetHeight;
    if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight;
    const again = ["back", "next", "step"].includes(focused) ? $(focused) : null;
    if (again) (again.disabled ? $("step") : again).focus({ preventScroll: true });
  }

  // ---- all of it ------------------------------------------------------------------------------
  function show() {
    const game = games[state.episode];
    if (game) state.step = Math.min(Math.max(state.step, 0), game.steps.length - 1);
    showSelection();
    showViewer();
    writeAddress();
  }

  function go(step) {
    state.step = step;
    show();
  }

  function update() {
    shown = filtered();
    if (!shown.includes(state.episode)) Object.assign(state, { episode: shown[0] ?? -1, step: 0 });
    showFilters();
    showList();
    show();
  }

  function onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const target = event.target, inList = target === $("list");
    if (target.matches("select, input") && target.type !== "checkbox") return; // keys of their own
    const game = games[state.episode];
    if (!game) return;
    const place = shown.indexOf(state.episode), last = game.steps.length - 1;
    const inside = $("browser").contains(target);
    if (event.key === "ArrowLeft") go(state.step - 1);
    else if (event.key === "ArrowRight") go(state.step + 1);
    else if (inList && event.key === "ArrowUp") choose(shown[Math.max(place - 1, 0)]);
    else if (inList && event.key === "ArrowDown") choose(shown[Math.min(place + 1, shown.length - 1)]);
    else if (inside && event.key === "Home") go(0);
    else if (inside && event.key === "End") go(last);
    else return;
    event.preventDefault();
  }

  if (source) {
    readAddress();
    fillFilters();
    update();
    document.addEventListener("keydown", onKey);
    window.addEventListener("hashchange", () => {
      if (!location.hash.includes("=")) return; // a link to a section
      readAddress();
      update();
    });
    $("more-curves")?.addEventListener("toggle", writeAddress);
  }
  if (watching) {
    const place = "gflowvlm-scroll " + location.pathname;
    const remembered = sessionStorage.getItem(place);
    if (remembered !== null) window.scrollTo(0, Number(remembered));
    setInterval(() => {
      // Not under somebody's hands: an open list of choices, or a number half typed, would be lost.
      if (document.activeElement?.matches("select, input[type=number]")) return;
      sessionStorage.setItem(place, String(window.scrollY));
      location.reload();
    }, 1000 * watching);
  }
})();
