'use strict';
'require form';
'require fs';
'require tools.widgets as widgets';
'require uci';
'require ui';
'require validation';
'require view';

/* Options have the names, defaults and ranges of xflowd's configuration. What is left empty is not written. */

const PROGRAM = '/usr/bin/xflowd';
const FILE = '/etc/config/xflowd';
const DURATION = /^(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s?)?$/;
const ZONE = /%[!-$&-.0-~]{1,15}$/;
const HOST_NAME = /^(?!-)[A-Za-z0-9_-]{0,62}[A-Za-z0-9_](\.(?!-)[A-Za-z0-9_-]{0,62}[A-Za-z0-9_])*\.?$/;

function duration(low, high) {
	return function(section_id, value) {
		const parts = value.match(DURATION);
		const seconds = parts ? (+(parts[1] || 0) * 60 + +(parts[2] || 0)) * 60 + +(parts[3] || 0) : NaN;

		if (value === '' || (seconds >= low && seconds <= high))
			return true;

		return _('Expecting %d to %d seconds, as 90, 90s, 1m30s or 1h').format(low, high);
	};
}

/* A whole number: the datatype "range" takes fractions too. */
function number(low, high) {
	return 'and(uinteger,range(%d,%d))'.format(low, high);
}

/* HOST, HOST:PORT, IPv6 in brackets; the datatype "hostport" knows neither the last nor a port left out. */
function splitEndpoint(value) {
	const bracketed = value.match(/^\[([^\[\]]*)\](?::(.*))?$/);
	const plain = value.match(/^([^:]*)(?::([^:]*))?$/);

	if (bracketed)
		return { address: bracketed[1], port: bracketed[2] };

	return plain ? { host: plain[1], port: plain[2] } : null;
}

/* With a zone: fe80::1%wan. */
function isAddress(text) {
	return validation.parseIPv4(text) !== null || validation.parseIPv6(text.replace(ZONE, '')) !== null;
}

function isPort(text, low) {
	return text === undefined || (/^\d{1,5}$/.test(text) && +text >= low && +text <= 65535);
}

function isHost(text) {
	const digits = /^[\d.]+$/.test(text);

	return digits ? validation.parseIPv4(text) !== null : text.length <= 253 && HOST_NAME.test(text);
}

function validateAddress(section_id, value) {
	const end = splitEndpoint(value);

	if (value === '')
		return true;

	if (end === null)
		return _('An IPv6 address needs brackets: [2001:db8::1]:2055');

	if (end.address === undefined ? !isHost(end.host) : !isAddress(end.address))
		return _('Expecting HOST:PORT, [IPv6]:PORT or HOST');

	return isPort(end.port, 1) || _('Expecting a port of 1 to 65535');
}

function validateSource(section_id, value) {
	const end = splitEndpoint(value);
	const known = end && (end.address === undefined ? validation.parseIPv4(end.host) !== null : isAddress(end.address));

	if (value === '' || (known && isPort(end.port, 0)))
		return true;

	return _('Expecting ADDRESS or ADDRESS:PORT of this router, IPv6 in brackets');
}

function validateListen(section_id, value) {
	const end = splitEndpoint(value);

	if (value === '' || (validateSource(section_id, value) === true && end.port !== undefined && +end.port > 0))
		return true;

	return _('Expecting ADDRESS:PORT of this router, IPv6 in brackets');
}

function validateRate(section_id, value) {
	const coarse = uci.sections('xflowd', 'collector').some(function(one) {
		return one.protocol === 'netflow5' || one.protocol === '5';
	});

	return !coarse || !(+value > 16383) || _('NetFlow v5 cannot tell a rate above 16383');
}

/* Names of sections are one word, and each is there once in the file, whatever its type. */
const NamedGrid = form.GridSection.extend({
	handleAdd: function(ev, name) {
		if (uci.get('xflowd', name) == null)
			return this.super('handleAdd', [ ev, name ]);

		ui.addNotification(null, E('p', _('There is a section of the name %s already.').format(name)), 'warning');
	}
});

/* A section that is there once, or not at all: then its options have their place, and the first value makes it. */
const Single = form.TypedSection.extend({
	cfgsections: function() {
		const found = this.super('cfgsections', []);
		let name = this.sectiontype;

		if (found.length)
			return found;

		while (uci.get('xflowd', name) != null)
			name += '_';

		return [ name ];
	},

	option: function() {
		const o = this.super('option', arguments);
		const write = o.write;

		o.write = function(section_id, value) {
			if (uci.get('xflowd', section_id) == null)
				uci.add('xflowd', this.section.sectiontype, section_id);

			return write.call(this, section_id, value);
		};

		return o;
	}
});

/* A list may also be written as an option, parted by commas or blanks, and under its name in INI files. */
function words(section_id, option) {
	const value = option ? uci.get('xflowd', section_id, option) : null;

	return Array.isArray(value) ? value : (value || '').split(/[\s,]+/).filter(function(word) { return word !== '' });
}

/* What o.load() gives, once it is there, through `change`: load() may have to ask for devices first. */
function loaded(o, change) {
	const load = o.load;

	o.load = function(section_id) {
		return Promise.resolve(load.call(this, section_id)).then(L.bind(change, this, section_id));
	};
}

function asList(o, plural) {
	const write = o.write, remove = o.remove;

	loaded(o, function(section_id) {
		const found = words(section_id, this.option).concat(words(section_id, plural));

		return found.length ? found : null;
	});
	o.write = function(section_id, value) {
		if (plural)
			uci.unset('xflowd', section_id, plural);

		return write.call(this, section_id, L.toArray(value));
	};
	o.remove = function(section_id) {
		if (plural)
			uci.unset('xflowd', section_id, plural);

		return remove.call(this, section_id);
	};
}

/* Words of which the first is the default, which is not written. `also` has other spellings. */
function asChoice(o, choices, also) {
	choices.forEach(function(choice, place) { o.value(place ? choice[0] : '', choice[1]) });
	loaded(o, function(section_id, value) {
		const lower = (value || '').toLowerCase();
		const word = (also || {})[lower] || lower;

		return word === '' || word === choices[0][0] ? null : word;
	});
}

/* 1, on, true, yes and enabled are the same to UCI. A flag is saved each time: only a change is to be written. */
function asSwitch(o) {
	const write = o.write, remove = o.remove;

	o.default = '1';
	o.write = function(section_id, value) {
		return value === this.cfgvalue(section_id) ? null : write.call(this, section_id, value);
	};
	o.remove = function(section_id) {
		return this.cfgvalue(section_id) === '1' ? null : remove.call(this, section_id);
	};
	loaded(o, function(section_id, value) {
		return value == null ? null : (/^(1|on|true|yes|enabled)$/.test(value) ? '1' : '0');
	});
}

function addMeter(m) {
	const s = m.section(Single, 'meter', _('Meter'), _('What is counted, and when a flow ends.'));
	let o;

	s.anonymous = true;
	s.addremove = false;
	s.tab('general', _('General'));
	s.tab('flows', _('Flows'));

	o = s.taboption('general', widgets.NetworkSelect, 'network', _('Networks'),
		_('Packets are counted at the devices of these networks.'));
	asList(o);
	o.multiple = true;
	o.nocreate = true;

	o = s.taboption('general', widgets.DeviceSelect, 'interface', _('Devices'),
		_('Names, or patterns such as wg*, which take in devices that come later. With neither networks nor devices: that of the default route.'));
	asList(o, 'interfaces');
	o.multiple = true;
	o.noaliases = true;

	o = s.taboption('general', form.ListValue, 'direction', _('Direction'),
		_('Both where one device is metered; ingress where there are several, so that a packet that passes two is counted once.'));
	asChoice(o, [
		[ 'auto', _('automatic') ],
		[ 'ingress', _('packets that come in') ],
		[ 'egress', _('packets that go out') ],
		[ 'both', _('both') ]
	]);

	o = s.taboption('general', form.ListValue, 'hook', _('Hook'),
		_('Where in the kernel packets are counted. XDP is the earliest place, TC sees both directions.'));
	asChoice(o, [ [ 'auto', _('automatic') ], [ 'xdp', 'XDP' ], [ 'tc', 'TC' ] ]);

	o = s.taboption('general', form.ListValue, 'tunnels', _('Tunnels'),
		_('Whose addresses, ports and octets a packet in a tunnel is counted by.'));
	asChoice(o, [ [ 'outer', _('the outer header') ], [ 'inner', _('the packet inside') ] ]);

	o = s.taboption('flows', form.Value, 'key', _('Key'),
		_('What tells one flow from another: a level, or names of elements parted by commas.'));
	o.value('ip', _('addresses'));
	o.value('proto', _('addresses, protocol'));
	o.value('full', _('addresses, protocol, ports'));
	o.value('vlan', _('addresses, protocol, ports, VLANs'));
	o.value('ether', _('addresses, protocol, ports, VLANs, MAC addresses'));
	o.placeholder = 'vlan';

	o = s.taboption('flows', form.Value, 'active_timeout', _('Active timeout'),
		_('A flow that goes on is reported this often. Seconds, or 1m30s.'));
	o.placeholder = '60';
	o.validate = duration(1, 86400);

	o = s.taboption('flows', form.Value, 'idle_timeout', _('Idle timeout'),
		_('A flow without packets for so long has ended. Seconds, or 1m30s.'));
	o.placeholder = '15';
	o.validate = duration(1, 86400);

	o = s.taboption('flows', form.Value, 'max_flows', _('Flows at most'),
		_('Flows that are counted at the same time; each takes about 440 octets of memory. Beyond that the oldest end early.'));
	o.placeholder = '65536';
	o.datatype = number(1, 4194304);

	o = s.taboption('flows', form.Value, 'as_table', _('Table of autonomous systems'),
		_('A file of prefixes and AS numbers. Without one, AS numbers are 0.'));
	o.placeholder = '/etc/xflowd/as.txt';
	o.validate = function(section_id, value) {
		return value === '' || value.charAt(0) === '/' || _('Expecting a whole path, from / on');
	};
}

function addSampling(m) {
	const s = m.section(Single, 'sampling', _('Sampling'),
		_('Counting one packet in many. Collectors are told the rate, and multiply.'));
	let o;

	s.anonymous = true;
	s.addremove = false;

	o = s.option(form.ListValue, 'mode', _('Mode'));
	asChoice(o, [
		[ 'none', _('every packet') ],
		[ 'systematic', _('the first of each so many packets') ],
		[ 'random', _('any one of each so many packets') ]
	]);

	o = s.option(form.Value, 'rate', _('One packet in'));
	o.placeholder = '1';
	o.datatype = number(1, 1000000);
	o.validate = validateRate;
	o.depends('mode', 'systematic');
	o.depends('mode', 'random');
}

function addCollectors(m) {
	const s = m.section(NamedGrid, 'collector', _('Collectors'),
		_('Where the flows go: up to 64 collectors, each with a name of its own.'));
	let o;

	s.anonymous = false;
	s.addremove = true;
	s.addbtntitle = _('Add collector');
	s.modaltitle = function(section_id) { return _('Collector %s').format(section_id) };

	o = s.option(form.Flag, 'enabled', _('Enabled'));
	asSwitch(o);
	o.editable = true;

	o = s.option(form.Value, 'address', _('Address'),
		_('HOST:PORT, [IPv6]:PORT or HOST. Without a port: 4739 for IPFIX, 2055 for NetFlow.'));
	o.placeholder = '192.0.2.10:2055';
	o.rmempty = false;
	o.validate = validateAddress;

	o = s.option(form.ListValue, 'protocol', _('Protocol'),
		_('What the collector understands. NetFlow v5 cannot carry IPv6 flows.'));
	asChoice(o, [ [ 'ipfix', 'IPFIX' ], [ 'netflow9', 'NetFlow v9' ], [ 'netflow5', 'NetFlow v5' ] ],
		{ '5': 'netflow5', '9': 'netflow9', '10': 'ipfix' });
	o.textvalue = function(section_id) {
		return { netflow9: 'NetFlow v9', netflow5: 'NetFlow v5' }[this.cfgvalue(section_id)] || 'IPFIX';
	};

	o = s.option(form.ListValue, 'template', _('Template'),
		_('What a record tells. Not with NetFlow v5.'));
	o.modalonly = true;
	o.load = function(section_id) {
		this.keylist = [];
		this.vallist = [];
		this.value('', _("the protocol's own"));
		uci.sections('xflowd', 'template', L.bind(function(one) { this.value(one['.name']) }, this));

		return uci.get('xflowd', section_id, 'template');
	};
	o.depends('protocol', '');
	o.depends('protocol', 'netflow9');

	o = s.option(form.Value, 'source', _('Source'),
		_('The address, and port, of this router to send from. Empty: the system chooses.'));
	o.modalonly = true;
	o.placeholder = '192.0.2.1:40000';
	o.validate = validateSource;

	o = s.option(form.Value, 'template_refresh', _('Template refresh'),
		_('How often templates are sent again. A collector that starts later shows nothing until they come.'));
	o.modalonly = true;
	o.placeholder = '60';
	o.validate = duration(1, 3600);

	o = s.option(form.Value, 'max_payload', _('Longest payload'),
		_('Octets of UDP payload. What does not fit the path is fragmented, and fragments get lost.'));
	o.modalonly = true;
	o.placeholder = '1400';
	o.datatype = number(512, 65507);

	o = s.option(form.Value, 'observation_domain', _('Observation domain'),
		_('The number by which collectors tell exporters apart. Empty: derived from this router.'));
	o.modalonly = true;
	o.datatype = number(1, 4294967295);

	o = s.option(form.Value, 'queue', _('Queue'),
		_('Octets of memory for datagrams that wait, while there is no way to the collector.'));
	o.modalonly = true;
	o.placeholder = '1048576';
	o.datatype = number(131072, 268435456);
}

function addTemplates(m) {
	const s = m.section(NamedGrid, 'template', _('Templates'),
		_('What a record tells, for collectors that name it. Without any, each protocol has its own, which suits every collector.'));
	let o;

	s.anonymous = false;
	s.addremove = true;
	s.addbtntitle = _('Add template');
	s.modaltitle = function(section_id) { return _('Template %s').format(section_id) };

	o = s.option(form.DynamicList, 'element', _('Elements'),
		_("IANA's names in the order of the record; default stands for all that the protocol's own template has. See xflowd elements."));
	asList(o, 'elements');
	o.placeholder = 'default';
	o.rmempty = false;
	o.validate = function(section_id, value) {
		return value === '' || /^[A-Za-z][A-Za-z0-9]*$/.test(value) || _('Expecting the name of an element');
	};
	o.textvalue = function(section_id) {
		return L.toArray(this.cfgvalue(section_id)).join(', ');
	};
}

function addAgent(m) {
	const s = m.section(Single, 'agent', _('Agent'), _('The agent itself.'));
	let o;

	s.anonymous = true;
	s.addremove = false;

	o = s.option(form.Flag, 'enabled', _('Enabled'));
	asSwitch(o);

	o = s.option(form.Value, 'user', _('User'),
		_('Who the agent is once it meters. It keeps three rights, whoever it is. Counts at the start only.'));
	o.placeholder = 'root';
	o.validate = function(section_id, value) {
		return value === '' || /^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/.test(value) || _('Expecting the name of an account');
	};
}

function addMetrics(m) {
	const s = m.section(Single, 'metrics', _('Metrics'), _('Counters for Prometheus.'));
	let o;

	s.anonymous = true;
	s.addremove = false;

	o = s.option(form.Value, 'listen', _('Listen at'),
		_('The address and port of this router where Prometheus asks. Empty: nowhere.'));
	o.placeholder = '127.0.0.1:9995';
	o.validate = validateListen;
}

/* What the agent's own reader says of the file: one line a fault. */
function renderFaults(checked) {
	const said = checked.code ? (checked.stderr || checked.stdout || '').trim() : '';

	if (said === '')
		return E([]);

	return E('div', { 'class': 'alert-message warning' }, [
		E('h4', _('The agent does not accept this configuration')),
		E('p', _('It goes on with the one it has, if it runs, and does not start with this one:')),
		E('pre', { 'style': 'white-space:pre-wrap;overflow-wrap:anywhere' }, [ said ])
	]);
}

return view.extend({
	load: function() {
		return Promise.all([
			L.resolveDefault(fs.exec(PROGRAM, [ 'check', '-c', FILE ]), {}),
			uci.load('xflowd')
		]);
	},

	render: function(known) {
		const m = new form.Map('xflowd', _('Flow export'),
			_('xflowd counts every packet into flows and sends them to collectors, as IPFIX, NetFlow v9 or v5.'));

		addMeter(m);
		addCollectors(m);
		addSampling(m);
		addTemplates(m);
		addMetrics(m);
		addAgent(m);

		return m.render().then(function(node) {
			return E([ renderFaults(known[0]), node ]);
		});
	}
});
