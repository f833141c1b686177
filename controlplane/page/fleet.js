// The fleet that the node belongs to, as `linimo fleet status` and `linimo node list` have it.
'use strict';

const nodeRows = new Rows($('fleet-rows'), () => tableRow(['', 'at', '', '', 'heard', 'announces', ''], new Set()));

/// null: the node is in none, or this address does not tell.
function showFleet(fleet) {
  $('fleet').hidden = $('fleet-link').hidden = fleet === null;
  if (fleet === null) return;
  const {table} = fleet;
  setText($('fleet-name'), fleet.fleet);
  $('fleet-badges').replaceChildren(fleet.agree ? badge('all agree', 'good') : badge('not all agree', 'bad'),
    badge(fleet.leader ? `${fleet.leader} leads` : 'no leader', fleet.leader ? 'good' : 'bad'));
  setText($('fleet-table'), `revision ${table.revision}, state ${table.state}, digest ${table.digest}`);
  const wrong = [...fleet.differences, ...Object.entries(fleet.alarms).map(([name, why]) => `${name}: ${why}`)];
  if (fleet.waiting) wrong.push(`revision ${fleet.waiting} waits${fleet.undecided.length ? ' for ' + fleet.undecided.join(', ') : ''}`);
  if (table.revision === 0) wrong.push('this node forwards by nothing of the fleet\'s yet');
  $('fleet-wrong').replaceChildren(...wrong.map(text => el('p', {}, text)));
  nodeRows.show(fleet.nodes, node => node.name, (row, node) => showNode(row, node, table));
}

function showNode(row, node, here) {
  if (!row.pill) row.cells[2].append(row.pill = el('span', {class: 'pill'}));
  const theirs = node.table;
  const same = theirs && ['revision', 'state', 'digest'].every(part => theirs[part] === here[part]);
  setText(row.pill, !theirs ? 'not heard' : same ? 'agrees' : 'differs');
  setAttribute(row.pill, 'data-state', !theirs ? 'down' : same ? 'up' : 'draining');
  const notes = [node.leads ? 'leads' : '', node.drained ? 'drained' : '', node.complaint || ''];
  const text = {0: node.name, 1: node.address || '', 3: theirs ? `revision ${theirs.revision}, state ${theirs.state}` : '',
    4: node.self ? 'itself' : theirs ? `${node.heard_ms_ago} ms ago` : 'never', 5: node.announces.join(', ') || 'nothing',
    6: notes.filter(note => note).join(', ')};
  for (const [i, each] of Object.entries(text)) setText(row.cells[i], each);
}
