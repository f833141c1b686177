// What all parts of the status page show with: elements, numbers, rows.
'use strict';

const $ = id => document.getElementById(id);

/// An element with attributes and children; a text is always text.
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter(child => child !== null && child !== undefined));
  return made;
}

/// Only what is different is touched: a selection and a scroll position stay, and a thousand rows cost little.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

const UNITS = ['', ' k', ' M', ' G', ' T'];
function short(number) {
  let unit = 0;
  for (; number >= 1000 && unit < UNITS.length - 1; ++unit) number /= 1000;
  return number.toFixed(number >= 100 || (unit === 0 && Number.isInteger(number)) ? 0 : 1) + UNITS[unit];
}
const unit = (number, of) => short(number).replace(/^([\d.]+) ?(\w?)$/, `$1 $2${of}`);
const whole = number => number.toLocaleString('en-US');
const percent = part => (part * 100).toFixed(part < 0.0995 ? 2 : 1) + ' %';
function duration(ms) {
  const seconds = ms / 1000;
  if (seconds < 120) return seconds.toFixed(seconds < 10 ? 1 : 0) + ' s';
  if (seconds < 7200) return (seconds / 60).toFixed(0) + ' min';
  return seconds < 172800 ? (seconds / 3600).toFixed(0) + ' h' : (seconds / 86400).toFixed(0) + ' days';
}

/// Rows of a table by a key: made once, kept in order, removed when their thing has gone.
class Rows {
  constructor(body, make) {
    this.body = body;
    this.make = make;
    this.rows = new Map();
  }
  show(items, key, update) {
    const gone = new Set(this.rows.keys());
    let place = this.body.firstElementChild;
    for (const item of items) {
      const name = key(item);
      gone.delete(name);
      let row = this.rows.get(name);
      if (!row) this.rows.set(name, row = this.make(item));
      if (row.element === place) place = place.nextElementSibling;
      else this.body.insertBefore(row.element, place);
      update(row, item);
    }
    for (const name of gone) {
      this.rows.get(name).element.remove();
      this.rows.delete(name);
    }
  }
}

function tableRow(labels, numbers) {
  const cells = labels.map((label, i) => el('td', {...(numbers.has(i) ? {class: 'n'} : {}), ...(label ? {'data-label': label} : {})}));
  return {element: el('tr', {}, ...cells), cells};
}

function badge(text, kind) {
  return el('span', {class: 'badge ' + kind}, text);
}
