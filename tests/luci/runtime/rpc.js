'use strict';
/* ubus by JSON-RPC, as uhttpd passes it on: calls of one turn go in one message. fs, poll, network, uci stand on it. */

const STATUS = [ 'Command OK', 'Invalid command', 'Invalid argument', 'Method not found', 'Resource not found',
	'No data received', 'Permission denied', 'Request timeout', 'Not supported' ];
const NAMES = { 2: 'InvalidArgumentError', 3: 'MethodNotFoundError', 4: 'NotFoundError', 5: 'NoDataError',
	6: 'PermissionError', 7: 'TimeoutError', 8: 'UnsupportedError' };
let nextId = 1;
let waiting = [];

function call(object, method, values) {
	return new Promise((resolve, reject) => {
		const id = nextId++;

		if (waiting.length === 0)
			setTimeout(flush, 0);
		waiting.push({ resolve, reject, message:
			{ jsonrpc: '2.0', id, method: 'call', params: [ L.env.sessionid, object, method, values ] } });
	});
}

async function flush() {
	const calls = waiting;
	const messages = calls.map(one => one.message);

	waiting = [];
	try {
		const answer = await fetch('/ubus', { method: 'POST', headers: { 'Content-Type': 'application/json' },
			body: JSON.stringify(messages.length > 1 ? messages : messages[0]) });
		const replies = [ await answer.json() ].flat();

		calls.forEach(one => {
			const reply = replies.find(candidate => candidate.id === one.message.id);

			if (!reply || reply.error)
				one.reject(new Error(reply ? reply.error.message : 'No reply'));
			else
				one.resolve(reply.result);
		});
	}
	catch (error) {
		calls.forEach(one => one.reject(error));
	}
}

modules.rpc = {
	declare: options => async (...values) => {
		const names = options.params || [];
		const named = Object.fromEntries(names.map((name, place) => [ name, values[place] ]));
		const [ code, data ] = await call(options.object, options.method, named);
		const [ key, fallback ] = Object.entries(options.expect || {})[0] || [];
		let value = data === undefined ? code : data;

		if (options.reject && code !== 0)
			throw new Error('%s/%s: %s'.format(options.object, options.method, STATUS[code]));
		if (key === undefined)
			return value;
		if (key !== '')
			value = value === null || value === undefined ? value : value[key];

		return Object.prototype.toString.call(value) === Object.prototype.toString.call(fallback) ? value : fallback;
	}
};

const callExec = modules.rpc.declare({ object: 'file', method: 'exec', params: [ 'command', 'params', 'env' ] });

modules.fs = {
	exec: (command, params, env) => callExec(command, params || null, env || null).then(answer => {
		if (typeof answer === 'number' && answer !== 0)
			throw Object.assign(new Error(STATUS[answer]), { name: NAMES[answer] || 'Error' });

		return answer;
	})
};

modules.poll = {
	tasks: [],

	add(task, seconds) {
		this.tasks.push(task);
		setInterval(() => task(), (window.pollSeconds || seconds) * 1000);
	}
};

modules.network = {
	devices: modules.rpc.declare({ object: 'luci-rpc', method: 'getNetworkDevices', expect: { '': {} } }),
	networks: modules.rpc.declare({ object: 'network.interface', method: 'dump', expect: { interface: [] } })
};

/* The configuration as the page sees it: what the router has, and what was changed here and is not saved yet. */
const uciCalls = {
	get: modules.rpc.declare({ object: 'uci', method: 'get', params: [ 'config' ], expect: { values: {} } }),
	add: modules.rpc.declare({ object: 'uci', method: 'add', params: [ 'config', 'type', 'name', 'values' ],
		expect: { section: '' }, reject: true }),
	set: modules.rpc.declare({ object: 'uci', method: 'set', params: [ 'config', 'section', 'values' ], reject: true }),
	del: modules.rpc.declare({ object: 'uci', method: 'delete', params: [ 'config', 'section', 'options' ], reject: true }),
	apply: modules.rpc.declare({ object: 'uci', method: 'apply', params: [ 'timeout', 'rollback' ], reject: true }),
	confirm: modules.rpc.declare({ object: 'uci', method: 'confirm', reject: true })
};

const uci = modules.uci = {
	values: {}, created: {}, changed: {}, deleted: {}, count: 0,

	load(configs) {
		return Promise.all([ configs ].flat().filter(config => !this.values[config]).map(config =>
			uciCalls.get(config).then(values => {
				this.values[config] = values;
				this.created[config] = {};
				this.changed[config] = {};
				this.deleted[config] = {};
			})));
	},

	sections(config, type, each) {
		const found = Object.values(this.values[config] || {})
			.filter(one => this.deleted[config][one['.name']] !== true)
			.map(one => Object.assign({}, one, this.changed[config][one['.name']]))
			.concat(Object.values(this.created[config] || {}))
			.filter(one => !type || one['.type'] === type);

		found.sort((one, other) => one['.index'] - other['.index']);
		if (each)
			found.forEach(one => each(one, one['.name']));

		return found;
	},

	get(config, section, option) {
		const made = (this.created[config] || {})[section];
		const gone = (this.deleted[config] || {})[section];

		if (made)
			return option === undefined ? made : made[option];
		if (gone === true || (gone || []).includes(option))
			return undefined;

		const base = (this.values[config] || {})[section];

		if (option === undefined)
			return base;

		return ((this.changed[config] || {})[section] || {})[option] ?? (base || {})[option];
	},

	set(config, section, option, value) {
		const made = this.created[config][section];
		const empty = value === null || value === undefined || value === '';

		if (made) {
			if (empty)
				delete made[option];
			else
				made[option] = value;
		}
		else if (empty)
			this.forget(config, section, option);
		else if ((this.values[config] || {})[section]) {
			const gone = (this.deleted[config][section] || []).filter(one => one !== option);

			(this.changed[config][section] = this.changed[config][section] || {})[option] = value;
			if (gone.length)
				this.deleted[config][section] = gone;
			else
				delete this.deleted[config][section];
		}
	},

	forget(config, section, option) {
		if (this.get(config, section, option) === undefined)
			return;

		delete (this.changed[config][section] || {})[option];
		(this.deleted[config][section] = this.deleted[config][section] || []).push(option);
	},

	unset(config, section, option) {
		this.set(config, section, option, null);
	},

	add(config, type, name) {
		const section = name || 'new%d'.format(++this.count);

		this.created[config][section] =
			{ '.type': type, '.name': section, '.create': name, '.anonymous': !name, '.index': 1000 + this.count++ };

		return section;
	},

	remove(config, section) {
		if (this.created[config][section])
			delete this.created[config][section];
		else
			this.deleted[config][section] = true;
	},

	/* The order of LuCI: what is new, what is changed, what is gone; then all is read again. */
	async save() {
		const options = one => Object.fromEntries(Object.entries(one).filter(([ name ]) => name[0] !== '.'));

		for (const config of Object.keys(this.values)) {
			const calls = Object.values(this.created[config])
				.map(one => uciCalls.add(config, one['.type'], one['.create'], options(one)));

			for (const [ section, values ] of Object.entries(this.changed[config]))
				if (Object.keys(values).length)
					calls.push(uciCalls.set(config, section, values));
			for (const [ section, gone ] of Object.entries(this.deleted[config]))
				calls.push(uciCalls.del(config, section, gone === true ? undefined : gone));

			await Promise.all(calls);
			delete this.values[config];
			await this.load(config);
		}
	},

	/* The router takes a change back that is not confirmed in time. */
	apply() {
		return uciCalls.apply(90, true).then(() => uciCalls.confirm());
	}
};
