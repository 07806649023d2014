'use strict';
'require dom';
'require fs';
'require poll';
'require ui';
'require view';
'require xflowd.figures as figures';

/* What `xflowd status --json` says: docs/status.md has the meaning of every figure. */

const PROGRAM = '/usr/bin/xflowd';
const INTERVAL = 5;  /* seconds */
const ENOUGH = 1000;  /* packets; of fewer, some on their way would pass for a coverage below 99 % */

/* The places of a point's packets, or of all points', under one set of names. */
function places(point) {
	const packets = point.packets;
	const placed = point.placed || {};

	return {
		seen: packets.seen,
		exported: placed.exported,
		in_table: placed.in_table,
		in_flows: point.placed ? 0 : point.in_flows,
		overflow: point.placed ? placed.overflow_waiting : packets.overflow,
		sampled_out: packets.sampled_out,
		not_metered: {
			not_ip: packets.not_ip,
			too_short: packets.too_short,
			malformed: packets.malformed,
			jumbogram: packets.jumbogram,
			lost: packets.lost
		},
		difference: placed.difference || 0
	};
}

function allPlaces(totals) {
	return Object.assign({ in_flows: 0, overflow: totals.overflow_waiting }, totals);
}

function packetsOf(name) {
	return function(place) { return place[name] === undefined ? '-' : figures.whole(figures.figure(place[name])) };
}

function any(name) {
	return function(place) { return place[name] };
}

/* Title, what stands under it, and of whose there must be some for the column to be shown. */
const COLUMNS = [
	[ _('Seen'), packetsOf('seen') ],
	[ _('= exported'), packetsOf('exported') ],
	[ _('+ in the table'), packetsOf('in_table') ],
	[ _('+ in flows'), packetsOf('in_flows'), any('in_flows') ],
	[ _('+ overflow'), packetsOf('overflow'), any('overflow') ],
	[ _('+ sampled out'), packetsOf('sampled_out'), any('sampled_out') ],
	[ _('+ not metered'), function(place) { return figures.counted(place.not_metered) || '0' },
		function(place) { return figures.sum(place.not_metered) } ],
	[ _('+ on their way'), packetsOf('difference'), any('difference') ]
];

function pointKey(point) {
	return point.index + ' ' + point.direction;
}

function renderPackets(now, before, seconds) {
	const earlier = {};
	const rows = now.interfaces.map(places).concat([ allPlaces(now.totals) ]);
	const shown = COLUMNS.filter(function(column) { return !column[2] || rows.some(column[2]) });

	(before ? before.interfaces : []).forEach(function(point) { earlier[pointKey(point)] = point.packets.seen });

	const titles = [ _('Interface'), _('Rate'), _('Coverage') ].concat(shown.map(function(column) { return column[0] }));
	const heads = now.interfaces.map(function(point) {
		const then = earlier[pointKey(point)];

		return [
			E('span', { 'title': _('Interface %d').format(point.index) },
				[ E('strong', [ point.name ]), ' ', _('%s by %s').format(point.direction, point.hook) ]),
			then === undefined ? '-' : figures.perSecond(point.packets.seen - then, seconds, '/s'),
			renderCoverage(point)
		];
	}).concat([ [ _('All interfaces'),
		before ? figures.perSecond(now.totals.seen - before.totals.seen, seconds, '/s') : '-', '-' ] ]);

	return figures.section(_('Packets'), [ figures.table(titles, heads.map(function(head, place) {
		return head.concat(shown.map(function(column) { return column[1](rows[place]) }));
	}), true) ]);
}

function renderCoverage(point) {
	if (point.coverage_percent === null)
		return '-';

	return E('span', { 'title': _('The kernel has counted %s packets').format(figures.figure(point.kernel.packets)) },
		[ point.coverage_percent.toFixed(2) + ' %' ]);
}

function renderTable(status) {
	const flows = status.flows;
	const used = flows.slots - flows.free;
	const percent = flows.slots ? Math.ceil(100 * used / flows.slots) : 0;
	const slots = figures.figure(flows.slots);
	const timeouts = status.timeouts;
	const idle = timeouts.idle_in_force < timeouts.idle
		? _('idle %d s, now %d s: the table is nearly full').format(timeouts.idle, timeouts.idle_in_force)
		: _('idle %d s').format(timeouts.idle);

	return figures.section(_('Flow table'), [
		E('div', { 'class': 'cbi-progressbar', 'title': '%s / %s (%d%%)'.format(figures.figure(used), slots, percent) },
			E('div', { 'style': 'width:%d%%'.format(percent) })),
		E('p', [ _('%s flows live, %s of %s slots free').format(
			figures.figure(flows.live), figures.figure(flows.free), slots) ]),
		E('p', [ _('Ended by: %s').format(figures.counted(flows.ended) || _('none yet')) ]),
		E('p', [ _('Timeouts: active %d s, %s').format(timeouts.active, idle) ])
	]);
}

function renderState(collector) {
	const error = collector.last_error;

	if (collector.trouble !== null)
		return E('strong', [ collector.trouble ]);

	return error === null ? _('OK')
		: _('OK; %s ago: %s').format(figures.lasting(error.seconds_ago), error.text);
}

function renderCollectors(now, before, seconds) {
	const earlier = {};
	const titles = [ _('Collector'), _('Address'), _('Flows'), _('Datagrams'), _('Octets'), _('Waiting'), _('Lost'),
		_('State') ];

	(before ? before.collectors : []).forEach(function(one) { earlier[one.name] = one });

	const rows = now.collectors.map(function(one) {
		const then = earlier[one.name];
		const address = one.resolved_address && one.address.indexOf(one.resolved_address) < 0
			? '%s (%s)'.format(one.address, one.resolved_address) : one.address;

		return [
			E('strong', [ one.name ]),
			_('%s to %s').format(one.protocol, address),
			figures.whole(figures.figure(one.flows_exported)),
			figures.whole(figures.figure(one.datagrams_sent)),
			E('span', [ figures.whole(figures.figure(one.octets_sent)), ' ',
				figures.whole('(%s)'.format(then ? figures.perSecond(one.octets_sent - then.octets_sent, seconds, 'B/s') : '-')) ]),
			one.waiting_datagrams ? _('%s datagrams').format(figures.figure(one.waiting_datagrams)) : '0',
			figures.counted(one.flows_not_sent) || '0',
			renderState(one)
		];
	});

	return figures.section(_('Collectors'), [ rows.length ? figures.table(titles, rows)
		: E('p', [ E('em', [ _('No collector is configured: flows are counted, and sent nowhere.') ]) ]) ]);
}

function renderAgent(status) {
	const agent = status.agent;

	return figures.section(_('Agent'), [
		E('p', [ _('xflowd %s, process %d, up %s').format(status.version, status.pid, figures.lasting(status.uptime_seconds)) ]),
		E('p', [ _('%s s of CPU (%s %%), %s of memory').format(
			agent.cpu_seconds.toFixed(1), agent.cpu_percent.toFixed(1), '%1024.1mB'.format(agent.memory_octets)) ])
	]);
}

/* What somebody should look at, in one line each. */
function troubles(status) {
	const low = status.interfaces.filter(function(point) {
		return point.kernel && point.kernel.packets >= ENOUGH && point.coverage_percent < 99;
	}).map(function(point) {
		return _('%s %s: only %s %% of what the kernel has counted passed the meter').format(
			point.name, point.direction, point.coverage_percent.toFixed(2));
	});
	const refused = status.refused.map(function(one) {
		return _('%s %s is not metered: %s').format(one.name, one.direction, one.reason);
	});
	const stuck = status.collectors.filter(function(one) { return one.trouble !== null }).map(function(one) {
		return _('Collector %s: %s').format(one.name, one.trouble);
	});
	const lost = status.totals.not_metered.lost;
	const full = lost === 0 ? [] : [
		_('%s packets were lost, for the table was full: raise the number of flows').format(figures.figure(lost))
	];

	return refused.concat(stuck, low, full);
}

function renderStatus(status, before) {
	const same = before && before.pid === status.pid ? before : null;
	const seconds = same ? status.uptime_seconds - same.uptime_seconds : 0;
	const found = troubles(status);

	return [
		found.length ? figures.warning(_('Needs attention'), found) : E([]),
		renderPackets(status, same, seconds),
		renderTable(status),
		renderCollectors(status, same, seconds),
		renderAgent(status)
	];
}

/* Why there is no document, and what to do. */
function renderSilence(answer) {
	const said = (answer.stderr || answer.error || '').trim();
	const lines = [ said || _('The command xflowd has said nothing.') ];

	if (answer.code === 1)
		lines.push(_('Restart starts it. If it does not stay, see whether it is enabled, and what the system log says.'));

	return [ figures.warning(_('No agent answers'), lines) ];
}

/* rpcd's own words say neither what nor why. */
function refusal(error) {
	const known = {
		NotFoundError: _('%s is not installed'),
		PermissionError: _('this account may not run %s'),
		TimeoutError: _('%s took too long'),
		UnsupportedError: _('%s said more than 256 KiB, which rpcd does not pass on: use it in a shell')
	};

	return known[error.name] ? known[error.name].format(PROGRAM) : '%s: %s'.format(PROGRAM, error.message || error);
}

/* → { status } or { error, stderr, code }; never rejected, so that polling goes on. */
function ask() {
	return fs.exec(PROGRAM, [ 'status', '--json' ]).then(function(answer) {
		return answer.code ? answer : { status: JSON.parse(answer.stdout) };
	}).catch(function(error) {
		return { error: refusal(error) };
	});
}

return view.extend({
	load: ask,

	show: function(answer) {
		let nodes;

		try {
			nodes = answer.status ? renderStatus(answer.status, this.before) : renderSilence(answer);
		}
		catch (error) {
			nodes = [ figures.warning(_('An agent of another version answers'), [ _('Restart it. (%s)').format(error.message) ]) ];
		}

		this.before = answer.status;
		dom.content(this.root, nodes);
	},

	/* Each answer costs the router the start of a program: none for a page that nobody looks at. */
	look: function() {
		return document.hidden ? Promise.resolve() : ask().then(L.bind(this.show, this));
	},

	command: function(program, argument, done) {
		return fs.exec(program, [ argument ]).then(function(answer) {
			if (answer.code)
				throw new Error((answer.stderr || answer.stdout || _('exit code %d').format(answer.code)).trim());

			ui.addNotification(null, E('p', [ (answer.stdout || answer.stderr || '').trim() || done ]), 'info');
		}).catch(function(error) {
			ui.addNotification(null, E('p', [ '%s %s: %s'.format(program, argument, error.message || error) ]), 'error');
		}).then(L.bind(this.look, this));
	},

	button: function(title, description, style, program, argument, done) {
		return E('button', {
			'class': 'btn cbi-button cbi-button-%s'.format(style),
			'title': description,
			'disabled': L.hasViewPermission() ? null : true,
			'click': ui.createHandlerFn(this, 'command', program, argument, done)
		}, [ title ]);
	},

	render: function(answer) {
		this.root = E('div');
		this.show(answer);
		poll.add(L.bind(this.look, this), INTERVAL);

		return E([
			E('h2', [ _('Flow export') ]),
			this.root,
			E('div', { 'class': 'cbi-page-actions' }, [
				this.button(_('Export all flows now'), _('Ends every flow in the table, and sends it'), 'action',
					PROGRAM, 'flush', _('Every flow was sent.')), ' ',
				this.button(_('Restart'), _('Starts the agent, or another in its place; no packet is missed'), 'apply',
					'/etc/init.d/xflowd', 'restart', _('The agent was started again.'))
			])
		]);
	},

	handleSave: null,
	handleSaveApply: null,
	handleReset: null
});
