'use strict';
/* The options of a form, and LuCI's choosers of devices and networks. */

const Value = Class.extend({
	__init__(map, section, option, title, description) {
		Object.assign(this, { map, section, option, title, description, config: map.config, deps: [], rmempty: true,
			optional: false, default: null, known: {} });
	},

	value(key, title) {
		(this.keylist = this.keylist || []).push(String(key));
		(this.vallist = this.vallist || []).push(String(title ?? key));
	},

	choices() {
		return this.keylist ? Object.fromEntries(this.keylist.map((key, place) => [ key, this.vallist[place] ])) : null;
	},

	depends(option, value) {
		this.deps.push({ [option]: value });
	},

	cbid(section) {
		return 'cbid.%s.%s.%s'.format(this.config, section, this.option);
	},

	field(section) {
		return this.map.root ? this.map.root.querySelector('[id="widget-%s"]'.format(this.cbid(section))) : null;
	},

	frame(section) {
		return this.map.root ? this.map.root.querySelector('[data-field="%s"]'.format(this.cbid(section))) : null;
	},

	load(section) {
		return this.map.data.get(this.config, section, this.option);
	},

	cfgvalue(section, ...given) {
		if (given.length)
			this.known = Object.assign({}, this.known, { [section]: given[0] });

		return this.known[section];
	},

	formvalue(section) {
		const node = this.field(section);

		return node ? dom.callClassMethod(node, 'getValue') : null;
	},

	/* As HTML. */
	textvalue(section) {
		const value = this.cfgvalue(section) ?? this.default;

		return value === null || value === undefined ? null : '%h'.format(value);
	},

	validate: () => true,

	write(section, value) {
		this.map.data.set(this.config, section, this.option, value);
	},

	remove(section) {
		this.map.data.unset(this.config, section, this.option);
	},

	isActive(section) {
		const frame = this.frame(section);

		return frame !== null && !frame.classList.contains('hidden');
	},

	isSatisfied(section) {
		return this.deps.length === 0 || this.deps.some(needed => Object.entries(needed).every(([ option, value ]) => {
			const other = this.section.children.find(child => child.option === option);

			return other && other.isActive(section) && same(other.formvalue(section), value);
		}));
	},

	checkDepends(section) {
		const frame = this.frame(section);
		const active = this.isSatisfied(section);

		if (!frame || frame.classList.contains('hidden') !== active)
			return false;

		frame.classList.toggle('hidden', !active);

		return true;
	},

	refuse(section) {
		const node = this.field(section);

		if (node && !dom.callClassMethod(node, 'isValid'))
			throw new TypeError('Option "%s" contains an invalid input value. %s'.format(this.title,
				dom.findClassInstance(node).error));
	},

	parse(section) {
		if (!this.isActive(section))
			return this.remove(section);

		const value = this.formvalue(section);

		this.refuse(section);
		if (value === null || value === '' || value.length === 0)
			return this.remove(section);

		return same(value, this.cfgvalue(section)) ? null : this.write(section, value);
	},

	make(value, section, options) {
		const choices = this.choices();

		return choices ? new Combobox(value, choices, options) : new Textfield(value, choices, options);
	},

	widget(section) {
		const node = this.make(this.cfgvalue(section) ?? this.default, section, {
			id: 'widget-' + this.cbid(section), sort: this.keylist, datatype: this.datatype, placeholder: this.placeholder,
			optional: this.optional || this.rmempty, validate: value => this.validate(section, value)
		}).render();

		return E('div', { 'data-field': this.cbid(section) }, [ node ]);
	},

	render(section) {
		return E('div', { class: this.deps.length ? 'cbi-value hidden' : 'cbi-value', 'data-field': this.cbid(section),
			'data-name': this.option }, [
			E('label', { class: 'cbi-value-title' }, [ this.title ]),
			E('div', { class: 'cbi-value-field' }, [ this.widget(section).firstChild,
				this.description ? E('div', { class: 'cbi-value-description' }, [ this.description ]) : null ]) ]);
	}
});

const ListValue = Value.extend({
	make(value, section, options) {
		return new Select(value, this.choices() || {}, Object.assign(options, { optional: this.optional }));
	}
});

const Flag = Value.extend({
	__init__(...values) {
		this.super('__init__', values);
		Object.assign(this, { enabled: '1', disabled: '0', default: '0' });
	},

	make(value, section, options) {
		return new Checkbox(value, null, Object.assign(options, { value_enabled: this.enabled }));
	},

	formvalue(section) {
		const node = this.field(section);

		return node && dom.callClassMethod(node, 'isChecked') ? this.enabled : this.disabled;
	},

	parse(section) {
		const value = this.formvalue(section);

		if (!this.isActive(section) || (value === this.default && (this.optional || this.rmempty)))
			return this.remove(section);

		return this.write(section, value);
	}
});

const DynamicValues = Value.extend({
	make(value, section, options) {
		return new DynamicList(value, this.choices(), options);
	}
});

const Chooser = ListValue.extend({
	make(value, section, options) {
		const names = L.toArray(value);
		const known = Object.keys(this.found);
		const others = this.nocreate ? [] : names.filter(name => !known.includes(name));
		const choices = Object.assign({}, this.found, Object.fromEntries(others.map(name => [ name, name + ' (absent)' ])));

		return new Dropdown(names, choices, Object.assign(options,
			{ create: !this.nocreate, optional: this.optional || this.rmempty }));
	}
});

Object.assign(modules.form, { Value, ListValue, Flag, DynamicList: DynamicValues });

modules['tools.widgets'] = {
	DeviceSelect: Chooser.extend({
		load(section) {
			return modules.network.devices().then(devices => {
				this.found = Object.fromEntries(Object.keys(devices).filter(name => name !== 'lo').map(name => [ name, name ]));

				return this.super('load', [ section ]);
			});
		}
	}),

	NetworkSelect: Chooser.extend({
		load(section) {
			return modules.network.networks().then(networks => {
				const names = networks.map(network => network.interface).filter(name => name !== 'loopback');

				this.found = Object.fromEntries(names.map(name => [ name, name ]));

				return this.super('load', [ section ]);
			});
		}
	})
};

modules.view = Class.extend({
	__init__() {
		const view = document.getElementById('view');

		this.done = Promise.resolve(this.load()).then(loaded => this.render(loaded)).then(nodes => {
			dom.content(view, nodes);
			view.append(this.addFooter());
			view.dataset.ready = 'yes';
		}).catch(error => {
			dom.content(view, E('div', { class: 'alert-message error' }, [ error.stack ]));
			console.error(error);
		});
	},

	load: () => null,

	maps: () => Array.from(document.querySelectorAll('#maincontent .cbi-map')),

	handleSave() {
		return Promise.all(this.maps().map(map => dom.callClassMethod(map, 'save')));
	},

	handleSaveApply() {
		return this.handleSave().then(() => modules.ui.changes.apply());
	},

	handleReset() {
		return Promise.all(this.maps().map(map => dom.callClassMethod(map, 'reset')));
	},

	addFooter() {
		const button = (method, title, style) => this[method] && L.hasViewPermission()
			? E('button', { class: 'btn cbi-button cbi-button-' + style, click: modules.ui.createHandlerFn(this, method) }, [ title ]) : null;

		return E('div', { class: 'cbi-page-actions' }, [ button('handleSaveApply', 'Save & Apply', 'apply'), ' ',
			button('handleSave', 'Save', 'save'), ' ', button('handleReset', 'Reset', 'reset') ]);
	}
});
