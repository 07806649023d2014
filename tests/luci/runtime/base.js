'use strict';
/*
 * A stand-in for the part of LuCI's client that xflowd's views use: names, arguments and behaviour are those of its
 * documented API (L, E, _, Class, dom, 'require ...' at the head of a view). Enough to run these views, and no more.
 */

/* %s %d %f %h as in C; %t seconds as a time; %1000.1m and %1024.1m a figure with its K, M, G. */
String.prototype.format = function(...values) {
	let place = 0;

	return this.replace(/%(%|(\d*)(?:\.(\d+))?([sdfhtm]))/g, (all, what, width, precision, letter) => {
		if (what === '%')
			return '%';

		const value = values[place++];

		switch (letter) {
		case 'd': return String(Math.floor(+value || 0));
		case 'f': return precision === undefined ? String(+value) : (+value).toFixed(+precision);
		case 'h': return String(value).replace(/[&<>"']/g, sign => '&#%d;'.format(sign.charCodeAt(0)));
		case 't': return asTime(+value || 0);
		case 'm': return withPrefix(+value || 0, +width || 1000, precision === undefined ? 2 : +precision);
		default: return String(value);
		}
	});
};

function asTime(seconds) {
	const days = Math.floor(seconds / 86400);
	const rest = '%dh %dm %ds'.format(seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);

	return days ? '%dd %s'.format(days, rest) : rest;
}

function withPrefix(value, base, precision) {
	let step = 0;

	while (value > base && step < 6) {
		value /= base;
		step++;
	}

	return (step ? value.toFixed(precision) : value) + ' ' + [ '', 'K', 'M', 'G', 'T', 'P', 'E' ][step];
}

/* In English. */
function _(text) {
	return text;
}

/* Classes: extend(), instantiate(), isSubclass(), and this.super('method', arguments). */
function Class() {}

const supers = new WeakMap();

Object.assign(Class, {
	extend(members) {
		const parent = this;
		const child = function(...values) {
			if (this.__init__)
				this.__init__(...values);
		};

		child.prototype = Object.assign(Object.create(parent.prototype), members, { constructor: child });

		return Object.assign(child, {
			extend: Class.extend,
			instantiate: values => new child(...values),
			isSubclass: other => typeof other === 'function' && other.prototype instanceof child
		});
	}
});

Class.prototype.super = function(name, values = []) {
	const stacks = supers.get(this) || {};
	const stack = stacks[name] = stacks[name] || [];
	let owner = Object.getPrototypeOf(stack.length ? stack[0] : Object.getPrototypeOf(this));

	supers.set(this, stacks);
	while (owner && !Object.prototype.hasOwnProperty.call(owner, name))
		owner = Object.getPrototypeOf(owner);

	if (!owner)
		return null;

	stack.unshift(owner);
	try {
		return owner[name].apply(this, Array.from(typeof values === 'object' ? values : [ values ]));
	}
	finally {
		stack.shift();
	}
};

/* Nodes, and the objects that stand behind them. */
const behind = new WeakMap();

const dom = {
	append(node, children) {
		if (Array.isArray(children))
			children.forEach(child => dom.append(node, child));
		else if (typeof children === 'function')
			dom.append(node, children(node));
		else if (children instanceof Node)
			node.appendChild(children);
		else if (children !== null && children !== undefined)
			node.insertAdjacentHTML('beforeend', '' + children);
	},

	/* As LuCI has it: a string alone is HTML, strings in an array are text. */
	create(html, attributes, data) {
		if (Array.isArray(html)) {
			const fragment = document.createDocumentFragment();

			html.forEach(child => fragment.append(child instanceof Node ? child : String(child)));

			return fragment;
		}

		const node = document.createElement(html);

		if (attributes !== null && typeof attributes === 'object' && !Array.isArray(attributes) && !(attributes instanceof Node))
			dom.attr(node, attributes);
		else if (attributes !== undefined)
			data = attributes;

		dom.children(node, data);

		return node;
	},

	children(node, data) {
		if (Array.isArray(data))
			data.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false)
				.forEach(child => node.append(child instanceof Node ? child : String(child)));
		else
			dom.append(node, data);
	},

	attr(node, attributes) {
		for (const [ name, value ] of Object.entries(attributes)) {
			if (typeof value === 'function')
				node.addEventListener(name, value);
			else if (value !== null && value !== undefined && value !== false)
				node.setAttribute(name, typeof value === 'object' ? JSON.stringify(value) : value);
		}
	},

	content(node, data) {
		node.replaceChildren();
		dom.children(node, data);
	},

	bindClassInstance(node, instance) {
		behind.set(node, instance);
	},

	findClassInstance(node) {
		for (; node; node = node.parentNode)
			if (behind.has(node))
				return behind.get(node);

		return null;
	},

	callClassMethod(node, method, ...values) {
		const instance = dom.findClassInstance(node);

		return instance && typeof instance[method] === 'function' ? instance[method](...values) : null;
	}
};

const E = dom.create;
const modules = { baseclass: Class, dom };

const L = {
	Class, dom,
	env: { sessionid: null, resource: '/luci-static/resources' },
	bind: (method, self, ...values) => method.bind(self, ...values),
	isObject: value => value !== null && typeof value === 'object' && !Array.isArray(value),
	toArray: value => value === null || value === undefined ? []
		: Array.isArray(value) ? value : String(value).trim().split(/\s+/).filter(word => word),
	resolveDefault: (value, other) => Promise.resolve(value).catch(() => other),
	resource: path => '%s/%s'.format(L.env.resource, path),
	hasViewPermission: () => L.env.writable,

	/* 'a.b' is a/b.js: its head names what it needs, what it returns is made once. */
	require(name) {
		if (!(name in modules))
			modules[name] = L.fetch(name);

		return Promise.resolve(modules[name]);
	},

	async fetch(name) {
		const answer = await fetch(L.resource(name.replace(/\./g, '/') + '.js'));

		if (!answer.ok)
			throw new Error('%s: %d'.format(name, answer.status));

		const source = await answer.text();
		const [ head ] = /^(?:\s*'[^']*';)*/.exec(source);
		const needed = [ ...head.matchAll(/'require ([\w.]+)(?: as (\w+))?'/g) ];
		const given = await Promise.all(needed.map(need => L.require(need[1])));
		const names = needed.map(need => need[2] || need[1].replace(/\W/g, '_'));
		const made = new Function('_', 'E', 'L', ...names, source + '\n//# sourceURL=' + name)(_, E, L, ...given);

		return typeof made === 'function' ? new made() : made;
	}
};
