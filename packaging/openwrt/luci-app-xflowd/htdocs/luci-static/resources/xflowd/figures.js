'use strict';
'require baseclass';

/* Figures, and what they stand in. */

const REASONS = {
	not_ip: _('not IP'),
	too_short: _('too short'),
	malformed: _('malformed'),
	jumbogram: _('jumbogram'),
	lost: _('lost: table full')
};
const ENDS = {
	idle_timeout: _('idle timeout'),
	active_timeout: _('active timeout'),
	end_of_flow: _('end of flow'),
	forced_end: _('forced end'),
	lack_of_resources: _('lack of resources')
};

function figure(number) {
	return Number(number).toLocaleString();
}

/* A figure is never broken between its digits. */
function whole(text) {
	return E('span', { 'style': 'white-space:nowrap' }, [ text ]);
}

function plain(reason) {
	return REASONS[reason] || ENDS[reason] || reason.replace(/_/g, ' ');
}

function sum(counts) {
	return Object.values(counts).reduce(function(all, one) { return all + one }, 0);
}

/* "12 queue full, 3 no route", or nothing. */
function counted(counts) {
	return Object.keys(counts)
		.filter(function(reason) { return counts[reason] > 0 })
		.map(function(reason) { return '%s %s'.format(figure(counts[reason]), plain(reason)) })
		.join(', ');
}

function lasting(seconds) {
	return '%t'.format(Math.floor(seconds));
}

function table(titles, rows, last) {
	return E('table', { 'class': 'table' }, [
		E('tr', { 'class': 'tr table-titles' }, titles.map(function(title) {
			return E('th', { 'class': 'th' }, [ title ]);
		}))
	].concat(rows.map(function(row, place) {
		return E('tr', { 'class': 'tr' }, row.map(function(cell, column) {
			const text = last && place === rows.length - 1 ? E('strong', [ cell ]) : cell;

			return E('td', { 'class': 'td', 'data-title': titles[column] }, [ text ]);
		}));
	})));
}

function section(title, nodes) {
	return E('div', { 'class': 'cbi-section' }, [ E('h3', [ title ]) ].concat(nodes));
}

function warning(title, lines) {
	return E('div', { 'class': 'alert-message warning' }, [ E('h4', [ title ]) ].concat(lines.map(function(line) {
		return E('p', { 'style': 'overflow-wrap:anywhere' }, [ line ]);
	})));
}

/* Packets or octets a second since the document before; '-' where there is none, or of another agent. */
function perSecond(difference, seconds, unit) {
	const rate = difference / seconds;

	if (!(seconds > 0 && difference >= 0))
		return '-';

	return rate < 1000 ? '%s %s'.format(rate.toFixed(1), unit) : '%1000.1m%s'.format(rate, unit);
}

return baseclass.extend({
	counted: counted,
	figure: figure,
	lasting: lasting,
	perSecond: perSecond,
	section: section,
	sum: sum,
	table: table,
	warning: warning,
	whole: whole
});
