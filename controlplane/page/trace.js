// "Why would this packet...": what `linimo trace` says, asked by a form.
'use strict';

/// A trace is work for the data plane: where this page is for everybody, it is not on offer.
function offerTrace(offered) {
  $('trace-form').hidden = !offered;
  $('trace-not-here').hidden = offered;
}

/// Of what the chosen protocol has none is asked.
function showFields() {
  const protocol = $('trace-protocol').value;
  $('trace-flags').disabled = protocol !== 'tcp';
  for (const [field, example] of [['trace-from', '198.51.100.7'], ['trace-to', '203.0.113.10']])
    $(field).placeholder = protocol === 'icmp' ? example : `${example}:${field === 'trace-from' ? 4242 : 443}`;
}

function showTraced(traced) {
  const said = traced.steps.map(({step, says}) => [step, says]);
  $('trace-answer').replaceChildren(
    el('p', {}, badge(traced.outcome, FINE.has(traced.outcome) ? 'good' : 'bad'), traced.meaning),
    el('dl', {'data-packet': traced.packet}, ...said.flatMap(([step, says]) => [el('dt', {}, step), el('dd', {}, says)])),
    traced.check.length ? el('p', {class: 'faint'}, 'To check it on the node: ', ...traced.check.flatMap(command => [el('code', {}, command), ' '])) : '');
}

$('trace-protocol').addEventListener('change', showFields);
$('trace-form').addEventListener('submit', async event => {
  event.preventDefault();
  $('trace-answer').replaceChildren();  // an old answer is none to a new question
  const asked = new URLSearchParams({protocol: $('trace-protocol').value, from: $('trace-from').value.trim(), to: $('trace-to').value.trim()});
  if (!$('trace-flags').disabled && $('trace-flags').value) asked.set('flags', $('trace-flags').value.trim().toUpperCase());
  try {
    showTraced(await get(`v1/trace?${asked}`));
  } catch (error) {
    $('trace-answer').replaceChildren(el('p', {class: 'wrong'}, error.message));
  }
});
showFields();
