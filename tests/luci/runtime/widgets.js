'use strict';
/* Fields of a form: getValue, setValue, isValid, triggerValidation; and what is shown above the page. */

modules.validation = {
	parseIPv4(text) {
		const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);

		return parts && parts.slice(1).every(part => +part <= 255) ? parts.slice(1).map(Number) : null;
	},

	parseIPv6(text) {
		try {
			return /^[0-9a-fA-F:.]+$/.test(text) && new URL('http://[%s]/'.format(text)) ? text : null;
		}
		catch (error) {
			return null;
		}
	}
};

/* Of the datatypes those that the views name; what is not known is an error, as it is in LuCI. */
const DATATYPES = {
	string: () => true,
	uinteger: value => /^\d+$/.test(value) || 'positive integer value',
	range: (value, low, high) => (/^-?\d+(\.\d+)?$/.test(value) && +value >= low && +value <= high)
		|| 'value between %f and %f'.format(low, high),
	uciname: value => /^[A-Za-z0-9_]+$/.test(value) || 'valid UCI identifier'
};

function checkType(datatype, value) {
	const both = /^and\((.*)\)$/.exec(datatype);
	const parts = both ? both[1].match(/\w+(\([^)]*\))?/g) : [ datatype ];

	for (const part of parts) {
		const [ , name, numbers ] = /^(\w+)(?:\(([^)]*)\))?$/.exec(part);
		const said = DATATYPES[name](value, ...(numbers || '').split(',').map(Number));

		if (said !== true)
			return 'Expecting: %s'.format(said);
	}

	return true;
}

const Field = Class.extend({
	__init__(value, choices, options) {
		this.value = value;
		this.choices = choices;
		this.options = options;
		this.error = null;
	},

	render() {
		this.node = this.build();
		this.node.id = this.options.id;
		dom.bindClassInstance(this.node, this);
		[ 'input', 'change', 'focusout' ].forEach(event => this.node.addEventListener(event, () => {
			this.triggerValidation();
			this.node.dispatchEvent(new CustomEvent('widget-change', { bubbles: true }));
		}));

		return this.node;
	},

	inputs() {
		return Array.from(this.node.querySelectorAll('input:not([type=checkbox]), select'));
	},

	check(value) {
		if (value === '' && !this.options.optional)
			return 'Expecting: non-empty value';

		const said = value === '' ? true : checkType(this.options.datatype || 'string', value);

		return said !== true ? said : this.options.validate ? this.options.validate(value) : true;
	},

	triggerValidation() {
		this.error = null;
		this.inputs().forEach(input => {
			const said = this.check(this.optionalInput(input) && input.value === '' ? '' : input.value);

			input.classList.toggle('cbi-input-invalid', said !== true);
			input.toggleAttribute('data-tooltip', said !== true);
			if (said !== true) {
				input.setAttribute('data-tooltip', said);
				this.error = said;
			}
		});

		return this.error === null;
	},

	optionalInput: () => true,

	isValid() {
		return this.triggerValidation();
	}
});

const Textfield = Field.extend({
	build() {
		return E('div', [ E('input', { type: this.options.password ? 'password' : 'text', class: 'cbi-input-text',
			value: this.value ?? '', placeholder: this.options.placeholder }) ]);
	},

	getValue() {
		return this.node.querySelector('input').value.trim();
	},

	setValue(value) {
		this.node.querySelector('input').value = value ?? '';
	}
});

const Combobox = Textfield.extend({
	build() {
		const node = this.super('build');
		const list = 'list.' + this.options.id;

		node.firstChild.setAttribute('list', list);
		node.append(E('datalist', { id: list }, Object.entries(this.choices).map(([ value, title ]) =>
			E('option', { value }, [ title ]))));

		return node;
	}
});

const Select = Field.extend({
	build() {
		const keys = this.options.sort || Object.keys(this.choices);

		if ('' in this.choices)
			this.options.optional = true;

		return E('div', [ E('select', { class: 'cbi-input-select' }, keys.map(key =>
			E('option', { value: key, selected: key === (this.value ?? '') ? '' : null }, [ this.choices[key] ]))) ]);
	},

	getValue() {
		return this.node.querySelector('select').value;
	},

	setValue(value) {
		this.node.querySelector('select').value = value ?? '';
	}
});

const Checkbox = Field.extend({
	build() {
		return E('div', { class: 'cbi-checkbox' }, [ E('input', { type: 'checkbox',
			checked: this.value === this.options.value_enabled ? '' : null }) ]);
	},

	isChecked() {
		return this.node.querySelector('input').checked;
	}
});

/* Values one under the other, and a field to add one with Enter or by leaving it. */
const DynamicList = Field.extend({
	build() {
		const node = E('div', { class: 'cbi-dynlist' });

		L.toArray(this.value).forEach(value => node.append(this.item(value)));
		node.append(E('input', { type: 'text', class: 'cbi-input-text', placeholder: this.options.placeholder,
			keydown: event => event.key === 'Enter' && this.take(), focusout: () => this.take() }));

		return node;
	},

	item(value) {
		return E('div', { class: 'item', 'data-value': value, click: event => {
			event.currentTarget.remove();
			this.node.dispatchEvent(new CustomEvent('widget-change', { bubbles: true }));
		} }, [ value ]);
	},

	take() {
		const input = this.node.lastElementChild;

		if (input.value.trim() === '' || this.check(input.value.trim()) !== true)
			return;

		this.node.insertBefore(this.item(input.value.trim()), input);
		input.value = '';
		this.triggerValidation();
	},

	check(value) {
		if (value === '')
			return this.options.optional || this.getValue().length ? true : 'Expecting: non-empty value';

		return this.super('check', [ value ]);
	},

	getValue() {
		return Array.from(this.node.querySelectorAll('.item'), item => item.dataset.value);
	}
});

/* Several of the choices, or others where one may be made: as boxes and a field, where LuCI has a list that opens. */
const Dropdown = Field.extend({
	build() {
		const chosen = L.toArray(this.value);
		const boxes = Object.entries(this.choices).map(([ value, title ]) => E('label', { class: 'choice' }, [
			E('input', { type: 'checkbox', value, checked: chosen.includes(value) ? '' : null }), title ]));

		return E('div', { class: 'cbi-dropdown' }, [ ...boxes, this.options.create
			? E('input', { type: 'text', class: 'create-item-input', placeholder: '-- custom --' }) : null ]);
	},

	getValue() {
		const boxes = Array.from(this.node.querySelectorAll('input[type=checkbox]:checked'), box => box.value);
		const own = this.node.querySelector('.create-item-input');

		return boxes.concat(L.toArray(own ? own.value : null));
	}
});

modules.ui = {
	Textfield, Combobox, Select, Checkbox, DynamicList, Dropdown,

	showModal(title, children, ...classes) {
		modules.ui.hideModal();
		document.body.append(E('div', { id: 'modal_overlay' }, [
			E('div', { class: [ 'modal', ...classes ].join(' '), role: 'dialog' }, [ E('h4', [ title ]), children ]) ]));
	},

	hideModal() {
		document.querySelectorAll('#modal_overlay').forEach(node => node.remove());
	},

	addNotification(title, children, ...classes) {
		document.getElementById('maincontent').prepend(E('div', { class: [ 'alert-message', ...classes ].join(' ') },
			[ title ? E('h4', [ title ]) : null, children ]));
	},

	/* Disabled while it is at work. */
	createHandlerFn: (self, method, ...values) => event => {
		const button = event.currentTarget;

		button.classList.add('spinning');
		button.disabled = true;

		return Promise.resolve((typeof method === 'string' ? self[method] : method).call(self, ...values, event))
			.catch(error => modules.ui.addNotification(null, E('p', [ error ? error.message : 'failed' ]), 'error'))
			.finally(() => {
				button.classList.remove('spinning');
				button.disabled = false;
			});
	},

	changes: { apply: () => modules.uci.apply().then(() => location.reload()) }
};
