'use strict';
'require form';
'require fs';
'require tools.widgets as widgets';
'require uci';
'require view';
'require xflowd.fields as fields';
'require xflowd.values as values';

/* Options have the names, defaults and ranges of xflowd's configuration. What is left empty is not written. */

const PROGRAM = '/usr/bin/xflowd';
const FILE = '/etc/config/xflowd';

function validateRate(section_id, value) {
	const coarse = uci.sections('xflowd', 'collector').some(function(one) {
		return one.protocol === 'netflow5' || one.protocol === '5';
	});

	return !coarse || !(+value > 16383) || _('NetFlow v5 cannot tell a rate above 16383');
}

function addMeter(m) {
	const s = m.section(fields.Single, 'meter', _('Meter'), _('What is counted, and when a flow ends.'));
	let o;

	s.anonymous = true;
	s.addremove = false;
	s.tab('general', _('General'));
	s.tab('flows', _('Flows'));

	o = s.taboption('general', widgets.NetworkSelect, 'network', _('Networks'),
		_('Packets are counted at the devices of these networks.'));
	fields.asList(o);
	o.multiple = true;
	o.nocreate = true;

	o = s.taboption('general', widgets.DeviceSelect, 'interface', _('Devices'),
		_('Names, or patterns such as wg*, which take in devices that come later. With neither networks nor devices: that of the default route.'));
	fields.asList(o, 'interfaces');
	o.multiple = true;
	o.noaliases = true;

	o = s.taboption('general', form.ListValue, 'direction', _('Direction'),
		_('Both where one device is metered; ingress where there are several, so that a packet that passes two is counted once.'));
	fields.asChoice(o, [
		[ 'auto', _('automatic') ],
		[ 'ingress', _('packets that come in') ],
		[ 'egress', _('packets that go out') ],
		[ 'both', _('both') ]
	]);

	o = s.taboption('general', form.ListValue, 'hook', _('Hook'),
		_('Where in the kernel packets are counted. XDP is the earliest place, TC sees both directions.'));
	fields.asChoice(o, [ [ 'auto', _('automatic') ], [ 'xdp', 'XDP' ], [ 'tc', 'TC' ] ]);

	o = s.taboption('general', form.ListValue, 'tunnels', _('Tunnels'),
		_('Whose addresses, ports and octets a packet in a tunnel is counted by.'));
	fields.asChoice(o, [ [ 'outer', _('the outer header') ], [ 'inner', _('the packet inside') ] ]);

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
	o.validate = values.duration(1, 86400);

	o = s.taboption('flows', form.Value, 'idle_timeout', _('Idle timeout'),
		_('A flow without packets for so long has ended. Seconds, or 1m30s.'));
	o.placeholder = '15';
	o.validate = values.duration(1, 86400);

	o = s.taboption('flows', form.Value, 'max_flows', _('Flows at most'),
		_('Flows that are counted at the same time; each takes about 440 octets of memory. Beyond that the oldest end early.'));
	o.placeholder = '65536';
	o.datatype = values.number(1, 4194304);

	o = s.taboption('flows', form.Value, 'scan_interval', _('Scan interval'),
		_('Seconds between two looks through the table for flows that have ended. More take less of a slow CPU.'));
	o.placeholder = '1';
	o.validate = values.duration(1, 10);

	o = s.taboption('flows', form.Value, 'as_table', _('Table of autonomous systems'),
		_('A file of prefixes and AS numbers. Without one, AS numbers are 0.'));
	o.placeholder = '/etc/xflowd/as.txt';
	o.validate = values.path;
}

function addSampling(m) {
	const s = m.section(fields.Single, 'sampling', _('Sampling'),
		_('Counting one packet in many. Collectors are told the rate, and multiply.'));
	let o;

	s.anonymous = true;
	s.addremove = false;

	o = s.option(form.ListValue, 'mode', _('Mode'));
	fields.asChoice(o, [
		[ 'none', _('every packet') ],
		[ 'systematic', _('the first of each so many packets') ],
		[ 'random', _('any one of each so many packets') ]
	]);

	o = s.option(form.Value, 'rate', _('One packet in'));
	o.placeholder = '1';
	o.datatype = values.number(1, 1000000);
	o.validate = validateRate;
	o.depends('mode', 'systematic');
	o.depends('mode', 'random');
}

function addCollectors(m) {
	const s = m.section(fields.NamedGrid, 'collector', _('Collectors'),
		_('Where the flows go: up to 64 collectors, each with a name of its own.'));
	let o;

	s.anonymous = false;
	s.addremove = true;
	s.addbtntitle = _('Add collector');
	s.modaltitle = function(section_id) { return _('Collector %s').format(section_id) };

	o = s.option(form.Flag, 'enabled', _('Enabled'));
	fields.asSwitch(o);
	o.editable = true;

	o = s.option(form.Value, 'address', _('Address'),
		_('HOST:PORT, [IPv6]:PORT or HOST. Without a port: 4739 for IPFIX, 2055 for NetFlow.'));
	o.placeholder = '192.0.2.10:2055';
	o.rmempty = false;
	o.validate = values.address;

	o = s.option(form.ListValue, 'protocol', _('Protocol'),
		_('What the collector understands. NetFlow v5 cannot carry IPv6 flows.'));
	fields.asChoice(o, [ [ 'ipfix', 'IPFIX' ], [ 'netflow9', 'NetFlow v9' ], [ 'netflow5', 'NetFlow v5' ] ],
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
	o.validate = values.source;

	o = s.option(form.Value, 'template_refresh', _('Template refresh'),
		_('How often templates are sent again. A collector that starts later shows nothing until they come.'));
	o.modalonly = true;
	o.placeholder = '60';
	o.validate = values.duration(1, 3600);

	o = s.option(form.Value, 'max_payload', _('Longest payload'),
		_('Octets of UDP payload. What does not fit the path is fragmented, and fragments get lost.'));
	o.modalonly = true;
	o.placeholder = '1400';
	o.datatype = values.number(512, 65507);

	o = s.option(form.Value, 'observation_domain', _('Observation domain'),
		_('The number by which collectors tell exporters apart. Empty: derived from this router.'));
	o.modalonly = true;
	o.datatype = values.number(1, 4294967295);

	o = s.option(form.Value, 'queue', _('Queue'),
		_('Octets of memory for datagrams that wait, while there is no way to the collector.'));
	o.modalonly = true;
	o.placeholder = '1048576';
	o.datatype = values.number(131072, 268435456);
}

function addTemplates(m) {
	const s = m.section(fields.NamedGrid, 'template', _('Templates'),
		_('What a record tells, for collectors that name it. Without any, each protocol has its own, which suits every collector.'));
	let o;

	s.anonymous = false;
	s.addremove = true;
	s.addbtntitle = _('Add template');
	s.modaltitle = function(section_id) { return _('Template %s').format(section_id) };

	o = s.option(form.DynamicList, 'element', _('Elements'),
		_("IANA's names in the order of the record; default stands for all that the protocol's own template has. See xflowd elements."));
	fields.asList(o, 'elements');
	o.placeholder = 'default';
	o.rmempty = false;
	o.validate = values.element;
	o.textvalue = function(section_id) {
		return '%h'.format(L.toArray(this.cfgvalue(section_id)).join(', '));
	};
}

function addAgent(m) {
	const s = m.section(fields.Single, 'agent', _('Agent'), _('The agent itself.'));
	let o;

	s.anonymous = true;
	s.addremove = false;

	o = s.option(form.Flag, 'enabled', _('Enabled'));
	fields.asSwitch(o);

	o = s.option(form.Value, 'user', _('User'),
		_('Who the agent is once it meters. It keeps three rights, whoever it is. Counts at the start only.'));
	o.placeholder = 'root';
	o.validate = values.account;

	o = s.option(form.Value, 'nice', _('Nice'),
		_('How far the agent stands back where others want the CPU. Counts at the start only.'));
	o.placeholder = '0';
	o.datatype = values.number(0, 19);
}

function addMetrics(m) {
	const s = m.section(fields.Single, 'metrics', _('Metrics'), _('Counters for Prometheus.'));
	let o;

	s.anonymous = true;
	s.addremove = false;

	o = s.option(form.Value, 'listen', _('Listen at'),
		_('The address and port of this router where Prometheus asks. Empty: nowhere. Needs the package python3-prometheus-client.'));
	o.placeholder = '127.0.0.1:9995';
	o.validate = values.listen;
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
