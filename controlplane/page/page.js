// The status page: asks the API what is, follows its events, and shows both. It changes nothing.
'use strict';

const POLL_MS = 1000;         // the node's state
const LISTS_MS = 2000;        // services, pools, backends and the fleet; at once when an event tells of a change
const SAMPLES = 120;          // of each plot
const EVENTS_SHOWN = 200;
const SEGMENTS = 200;         // of a bar; a pool with more backends has them by state
const OPEN_POOLS = 4;         // so few, with so few backends each, are unfolded from the start
const OPEN_BACKENDS = 12;
const PAGE = 4096;            // backends asked for at a time

// ---- Rates -----------------------------------------------------------------------------------------------------

/// How fast counters grow, from one look to the next. A counter that fell began anew.
class Rates {
  constructor() {
    this.before = new Map();
  }
  next(key, count, now) {
    const before = this.before.get(key);
    this.before.set(key, {count, now});
    if (!before || now <= before.now || count < before.count) return 0;
    return (count - before.count) * 1000 / (now - before.now);
  }
}
const rates = new Rates();

function makePlot(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const line = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
  svg.setAttribute('viewBox', `0 0 ${SAMPLES - 1} 36`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.append(line);
  const plot = {line, values: [], number: el('b', {}, '–'), note: el('small')};
  $('tiles').append(el('div', {class: 'tile'}, el('small', {}, name), plot.number, svg, plot.note));
  return [name, plot];
}
const plots = new Map(['Packets forwarded', 'Packets dropped', 'Bits forwarded', 'New flows', 'Flows tracked'].map(makePlot));
function tile(name, value, text, note) {
  const plot = plots.get(name);
  plot.values.push(value);
  if (plot.values.length > SAMPLES) plot.values.shift();
  const most = Math.max(1, ...plot.values);
  const first = SAMPLES - plot.values.length;
  plot.line.setAttribute('points', plot.values.map((each, i) => `${first + i},${(35 - 34 * each / most).toFixed(1)}`).join(' '));
  setText(plot.number, text);
  setText(plot.note, note);
}

// ---- The node --------------------------------------------------------------------------------------------------

let meanings = {};
const FINE = new Set(['forwarded', 'kernel', 'kernel_control', 'from_kernel', 'echo_reply', 'icmp_error', 'too_big_reply',
  'reject_reply', 'fragment_passed']);
const outcomeRows = new Rows($('outcome-rows'), () => tableRow(['', 'per second', 'packets', '', 'do:'], new Set([1, 2])));
const conditionRows = new Rows($('condition-rows'), () => tableRow(['', '', 'since', ''], new Set()));

function showOutcomes(outcomes, now) {
  const seen = Object.entries(outcomes).filter(([name, count]) => count > 0 || name === 'forwarded')
    .map(([name, count]) => ({name, count, rate: rates.next('outcome ' + name, count, now), fine: FINE.has(name)}));
  seen.sort((a, b) => a.fine - b.fine || b.count - a.count);
  outcomeRows.show(seen, outcome => outcome.name, (row, outcome) => {
    const meaning = meanings[outcome.name] || {means: '', do: ''};
    [outcome.name, short(outcome.rate), whole(outcome.count), meaning.means, meaning.do]
      .forEach((text, i) => setText(row.cells[i], text));
    setAttribute(row.element, 'class', !outcome.fine && outcome.rate > 0 ? 'hot' : '');
  });
  const of = fine => seen.filter(outcome => outcome.fine === fine).reduce((sum, outcome) => sum + outcome.rate, 0);
  const forwarded = seen.find(outcome => outcome.name === 'forwarded');
  tile('Packets forwarded', forwarded.rate, short(forwarded.rate) + '/s', whole(forwarded.count) + ' in all');
  tile('Packets dropped', of(false), short(of(false)) + '/s', 'by reason below');
}

function showConditions(conditions) {
  const named = condition => condition.name + (condition.subject ? ' ' + condition.subject : '');
  const holding = conditions.filter(condition => condition.state === 'holds');
  const others = conditions.filter(condition => condition.state !== 'holds').sort((a, b) => (a.state > b.state) - (a.state < b.state));
  setText($('holding'), `${holding.length} hold: ${holding.map(named).join(', ')}`);
  conditionRows.show(others, named, (row, condition) => {
    setText(row.cells[0], named(condition));
    if (!row.pill) row.cells[1].append(row.pill = el('span', {class: 'pill'}));
    setText(row.pill, condition.state);
    setAttribute(row.pill, 'data-state', condition.state === 'fails' ? 'down' : 'unknown');
    setText(row.cells[2], duration(condition.since_ms));
    setText(row.cells[3], [condition.evidence, condition.mend].filter(text => text).join('; '));
  });
}

/// What an operator must see first: [text, command that mends it].
function alarmsOf(status) {
  const alarms = [];
  if (!status.serves) alarms.push(['No VIP is announced: ' + status.serves_not_why]);
  if (!status.dataplane.connected) alarms.push(['The data plane does not answer. It goes on with what it has, if it runs.']);
  for (const pool of status.pools_in_panic) alarms.push([`Few backends of ${pool} are up, so all are used.`]);
  if (status.dataplane.last_refusal) alarms.push(['The data plane refused tables: ' + status.dataplane.last_refusal]);
  if (status.config.last_error) alarms.push(['The configuration was refused: ' + status.config.last_error]);
  for (const key of status.config.restart_needed) alarms.push([`[node] ${key} changed: restart linimo-dataplane for it.`]);
  for (const condition of status.conditions) {
    if (condition.state !== 'fails') continue;
    alarms.push([`${condition.name}${condition.subject ? ' ' + condition.subject : ''} fails for ` +
      `${duration(condition.since_ms)}${condition.evidence ? ': ' + condition.evidence : ''}`, condition.mend]);
  }
  return alarms;
}

function showAlarms(alarms) {
  $('alarms').hidden = alarms.length === 0;
  $('alarms').replaceChildren(...alarms.map(([text, mend]) => el('p', {}, text, mend ? ' ' : null, mend ? el('code', {}, mend) : null)));
}

let factsShown = '';
function showFacts(status) {
  const {config, dataplane, announce} = status;
  const facts = [
    ['Engine', `${status.engine || 'none yet'} ${status.engine_reason ? `(${status.engine_reason})` : ''}`],
    ['Data plane', dataplane.connected ? `pid ${dataplane.pid}, ${dataplane.workers} workers` : 'not connected'],
    ['Tables', `generation ${status.generation}, digest ${status.digest}${status.up_to_date ? '' : ', not yet those that are wished'}`],
    ['Flows', `${whole(status.flows.tracked)} tracked, room for ${whole(status.flows.capacity)}, ${whole(status.flows.unstored)} found no place`],
    ['Frames lost', `${whole(status.transmit_lost)} after sending, ${whole(status.receive_lost)} before receiving`],
    ['Configuration', `${config.file}, revision ${config.revision}, loaded ${config.loaded_at}`],
    ['Version', status.version],
  ];
  if (announce) {
    const announced = announce.vips.filter(vip => vip.announced);
    facts.push(['Announced', announced.map(vip => `${vip.vip} (metric ${vip.metric})`).slice(0, 50).join(', ') || 'nothing']);
    const not = announce.vips.filter(vip => !vip.announced);
    if (not.length) facts.push(['Not announced', not.map(vip => vip.vip).slice(0, 50).join(', ')]);
    for (const session of announce.bird.sessions) facts.push(['BGP', `${session.protocol} ${session.info || (session.up ? 'up' : 'down')}`]);
    for (const session of announce.bird.bfd) facts.push(['BFD', `${session.neighbor} ${session.interface} ${session.state}`]);
  }
  const text = JSON.stringify(facts);
  if (text === factsShown) return;
  factsShown = text;
  $('facts').replaceChildren(...facts.flatMap(([name, text]) => [el('dt', {}, name), el('dd', {}, text)]));
}

function showStatus(status) {
  const now = performance.now();
  setText($('node'), status.node);
  document.title = `${status.node} – Linimo`;
  const alarms = alarmsOf(status);
  $('badges').replaceChildren(
    status.serves ? badge('serves', 'good') : badge('serves nothing', 'bad'),
    status.announce && status.announce.state !== 'serving' ? badge(status.announce.state, 'mild') : '',
    badge(`generation ${status.generation}`, status.up_to_date ? 'good' : 'mild'),
    alarms.length ? badge(`${alarms.length} to look at`, 'bad') : '');
  showAlarms(alarms);
  showOutcomes(status.outcomes, now);
  const {tracked, capacity} = status.flows;
  tile('Flows tracked', tracked, short(tracked), capacity ? percent(tracked / capacity) + ' of the room' : '');
  showConditions(status.conditions);
  showFacts(status);
}

// ---- Services and pools ----------------------------------------------------------------------------------------

const serviceRows = new Rows($('services-rows'),
  () => tableRow(['', '', '', 'pool', 'packets/s', 'bits/s', 'new flows/s'], new Set([4, 5, 6])));
let services = [];

function showServices() {
  const filter = $('services-filter').value.trim().toLowerCase();
  const wanted = services.filter(service => !filter || service.search.includes(filter));
  serviceRows.show(wanted, service => service.name, (row, service) => {
    [service.name, service.vips.join(', '), `${service.protocol} ${service.ports.join(', ')}`, service.pool,
      short(service.packets_rate), short(service.bits_rate), short(service.flows_rate)]
      .forEach((text, i) => setText(row.cells[i], text));
  });
  setText($('services-count'), filter ? `${wanted.length} of ${services.length}` : `${services.length}`);
}

function takeServices(found) {
  const now = performance.now();
  for (const service of found) {
    service.search = [service.name, service.pool, ...service.vips].join(' ').toLowerCase();
    service.packets_rate = rates.next('packets ' + service.name, service.packets, now);
    service.bits_rate = 8 * rates.next('bytes ' + service.name, service.bytes, now);
    service.flows_rate = rates.next('flows ' + service.name, service.new_flows, now);
  }
  services = found;
  showServices();
  const sum = rate => found.reduce((total, service) => total + service[rate], 0);
  tile('Bits forwarded', sum('bits_rate'), unit(sum('bits_rate'), 'bit/s'), 'from the IP header on');
  tile('New flows', sum('flows_rate'), short(sum('flows_rate')) + '/s', 'of services that track them');
}

const poolCards = new Rows($('pool-cards'), pool => {
  const card = {
    facts: el('span', {class: 'faint'}), panic: badge('all are used: few are up', 'bad'),
    health: el('div', {class: 'bar health'}), share: el('div', {class: 'bar share', title: 'share of the table'}),
    body: el('tbody'),
  };
  card.details = el('details', {}, el('summary', {}, 'backends'), el('table', {},
    el('thead', {}, el('tr', {}, ...['Backend', 'State', 'Share', 'Packets/s', 'Flows', ''].map(name => el('th', {}, name)))), card.body));
  card.rows = new Rows(card.body, () => tableRow(['', '', '', 'packets/s', 'flows', ''], new Set()));
  card.details.addEventListener('toggle', () => card.refresh && card.refresh());
  card.element = el('div', {class: 'pool', 'data-pool': pool.name}, el('h3', {}, pool.name, card.facts, card.panic),
    card.health, card.share, card.details);
  return card;
});

/// Parts of a bar: backends, or where they are too many, all of one state together.
function segmentsOf(backends) {
  if (backends.length <= SEGMENTS)
    return backends.map(one => ({name: `${one.pool}/${one.address}`, state: one.state, width: 1, share: one.share,
      title: `${one.address}: ${one.state}, ${percent(one.share)}`}));
  const states = new Map();
  for (const one of backends) {
    const all = states.get(one.state) || {name: one.state, state: one.state, width: 0, share: 0};
    all.width += 1;
    all.share += one.share;
    all.title = `${all.width} ${one.state}`;
    states.set(one.state, all);
  }
  return [...states.values()];
}

function showBar(bar, segments, width) {
  const wanted = segments.filter(segment => width(segment) > 0);
  while (bar.children.length > wanted.length) bar.lastElementChild.remove();
  while (bar.children.length < wanted.length) bar.append(el('i'));
  wanted.forEach((segment, i) => {
    const part = bar.children[i];
    setAttribute(part, 'style', `flex:${width(segment)} 0 0`);
    setAttribute(part, 'data-state', segment.state);
    setAttribute(part, 'data-backend', segment.name);
    setAttribute(part, 'title', segment.title);
  });
}

function showBackend(row, one) {
  if (!row.pill) {
    row.cells[1].append(row.pill = el('span', {class: 'pill'}));
    row.meter = el('i');
    row.cells[2].append(el('span', {class: 'meter'}, row.meter), row.share = el('span'));
  }
  setText(row.cells[0], one.address);
  setText(row.pill, one.state);
  setAttribute(row.pill, 'data-state', one.state);
  setAttribute(row.meter, 'style', `width:${(one.share * 100).toFixed(1)}%`);
  setText(row.share, percent(one.share));
  setText(row.cells[3], short(one.rate));
  setText(row.cells[4], whole(one.flows));
  setText(row.cells[5], one.way_problem ? `no way: ${one.way_problem}; ${one.detail}` : one.detail);
}

function takePools(pools, backends) {
  const now = performance.now();
  const of = new Map(pools.map(pool => [pool.name, []]));
  for (const one of backends) {
    one.rate = rates.next(`backend ${one.pool}/${one.address}`, one.packets, now);
    if (of.has(one.pool)) of.get(one.pool).push(one);
  }
  poolCards.show(pools, pool => pool.name, (card, pool) => {
    const its = of.get(pool.name);
    const health = pool.health ? `${pool.health.type} every ${pool.health.interval_ms / 1000} s` : 'not checked';
    setText(card.facts, `${pool.backends_up} of ${pool.backends} up, ${pool.encapsulation}, ${health}`);
    card.panic.hidden = !pool.panic;
    const segments = segmentsOf(its);
    if (!card.shown) card.details.open = pools.length <= OPEN_POOLS && its.length <= OPEN_BACKENDS;
    card.shown = true;
    showBar(card.health, segments, segment => segment.width);
    showBar(card.share, segments, segment => segment.share);
    card.refresh = () => {
      if (card.details.open) card.rows.show(its, one => one.address, showBackend);
    };
    card.refresh();
  });
  setText($('pools-count'), `${pools.length}, ${whole(backends.length)} backends`);
}

// ---- Events ----------------------------------------------------------------------------------------------------

function showEvent(event) {
  const time = el('time', {datetime: event.time}, event.time.slice(11, 23));
  const details = Object.entries(event.details).map(([name, value]) => `${name}=${value}`).join(' ');
  $('event-rows').prepend(el('li', {'data-kind': event.kind}, time, el('b', {}, event.what), el('span', {class: 'faint'}, details)));
  while ($('event-rows').children.length > EVENTS_SHOWN) $('event-rows').lastElementChild.remove();
}

function followEvents() {
  const source = new EventSource(`v1/events?past=${EVENTS_SHOWN}`);
  source.onmessage = message => {
    const event = JSON.parse(message.data);
    showEvent(event);
    if (event.kind !== 'announcement') lists.soon();
    state.soon();
  };
  // The browser comes again by itself and says what it had last, unless it was refused.
  source.onerror = () => {
    if (source.readyState !== EventSource.CLOSED) return;
    $('event-rows').replaceChildren();
    setTimeout(followEvents, PATIENCE_MS);
  };
}

// ---- Again and again -------------------------------------------------------------------------------------------

async function allBackends() {
  const all = [];
  for (let after = '';;) {
    const page = await get(`v1/backends?limit=${PAGE}${after}`);
    all.push(...page);
    if (page.length < PAGE) return all;
    after = `&after=${encodeURI(`${page.at(-1).pool}/${page.at(-1).address}`)}`;
  }
}

const state = new Repeated(POLL_MS, async () => {
  if (Object.keys(meanings).length === 0) meanings = await get('outcomes.json');
  showStatus(await get('v1/status'));
  setText($('link'), 'live');
  $('link').className = '';
});
const lists = new Repeated(LISTS_MS, async () => {
  takeServices(await get('v1/services'));
  const pools = await get('v1/pools');
  takePools(pools, await allBackends());
  const offered = new Set((await get('v1/paths')).paths);
  offerTrace(offered.has('/v1/trace'));
  showFleet(offered.has('/v1/fleet') ? await get('v1/fleet') : null);
});
$('services-filter').addEventListener('input', showServices);
document.addEventListener('visibilitychange', () => {
  if (document.hidden) return;
  state.soon();
  lists.soon();
});
followEvents();
